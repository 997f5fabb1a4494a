"""A tiny real base and tiny real examples, made in a second: no download, no mock."""

from pathlib import Path
from typing import Any

TEXT = (
    "the a field setting model view class method query cache user page fixed added removed crash in"
    " of when with error option new support bug documentation DATABASES DEBUG save get filter"
)
WORDS = TEXT.split()


def make_base(out: Path, head: bool = False) -> Path:
    """Write a two-layer BERT of width 32 with a word-piece tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, BertModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789.,:()_-")
    pieces = special + letters + [f"##{c}" for c in letters] + [w.lower() for w in WORDS]
    vocabulary = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends
    )
    tokenizer.add_special_tokens(special)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    (BertForMaskedLM if head else BertModel)(config).save_pretrained(out)
    return out


def classified(n: int) -> list[dict[str, Any]]:
    """n examples whose label is to be learnt from a word or two."""
    kinds = [("fix", "fixed a crash in"), ("feature", "added support of"), ("doc", "documentation")]
    return [
        _example(i, f"{kinds[i % 3][1]} the {WORDS[i % 20]} {WORDS[i * 7 % len(WORDS)]} {i}")
        | {"source": f"s{i % 2}", "label": kinds[i % 3][0]}
        for i in range(n)
    ]


def felt(n: int) -> list[dict[str, Any]]:
    """n examples in two languages."""
    kinds = [("negative", "crash error in"), ("neutral", "the"), ("positive", "new support of")]
    return [
        _example(i, f"{kinds[i % 3][1]} {_word(i)} {_word(7 * i)} {i}")
        | {"label": kinds[i % 3][0], "language": ("en", "de")[i % 2]}
        for i in range(n)
    ]


def labelled(n: int) -> list[dict[str, Any]]:
    """n examples with none, one, two or three labels."""
    kinds = [("fix", "fixed a crash"), ("feature", "added support"), ("doc", "new documentation")]
    rows = []
    for i in range(n):
        chosen = [kind for place, kind in enumerate(kinds) if (i + 1) >> place & 1]
        text = " ".join([*(words for _, words in chosen), "of", _word(i), _word(7 * i), str(i)])
        rows.append(_example(i, text) | {"labels": sorted(label for label, _ in chosen)})
    return rows


def rated(n: int) -> list[dict[str, Any]]:
    """n examples with a score from -1 to 1."""
    kinds = ["crash error", "error", "the", "support", "new support"]
    return [
        _example(i, f"{kinds[i % 5]} of {_word(i)} {_word(7 * i)} {i}") | {"score": i % 5 / 2 - 1}
        for i in range(n)
    ]


def paired(n: int) -> list[dict[str, Any]]:
    """n examples whose label depends on the second text, and on what it has of the first."""
    kinds = [
        ("entailment", "the {}"),
        ("contradiction", "without {}"),
        ("neutral", "documentation"),
    ]
    rows = []
    for i in range(n):
        label, pair = kinds[i % 3]
        said = {"pair": pair.format(_word(i)), "label": label}
        rows.append(_example(i, f"added the {_word(i)} of {_word(7 * i)} {i}") | said)
    return rows


def tagged(n: int) -> list[dict[str, Any]]:
    """n examples with one or two entities each."""
    rows = []
    for i in range(n):
        name = f"save_{i}" if i % 2 else f"get_{i}"
        text = f"the DEBUG{i} option of {name} in {WORDS[i % len(WORDS)]}"
        end, at = 4 + len(f"DEBUG{i}"), text.index(name)
        spans = [{"start": 4, "end": end, "label": "OPTION"}]
        if i % 2:
            spans.append({"start": at, "end": at + len(name), "label": "FUNC"})
        rows.append(_example(i, text) | {"spans": spans})
    return rows


def parsed(n: int) -> list[dict[str, Any]]:
    """n examples with a tag for each word; one word is more than a unit, one glued to a sign."""
    rows = []
    for i in range(n):
        words = ["the", _word(i), "save-get", "fixed" if i % 2 else "added", "a", _word(7 * i)]
        tags = ["DET", "NOUN", "PROPN", "VERB", "DET", "NOUN"]
        text, spans = "", []
        for word, tag in zip([*words, str(i)], [*tags, "NUM"], strict=True):
            start = len(text) + bool(text)
            text = f"{text} {word}".strip()
            spans.append({"start": start, "end": len(text), "label": tag})
        end = {"start": len(text), "end": len(text) + 1, "label": "PUNCT"}
        rows.append(_example(i, text + ".") | {"spans": [*spans, end]})
    return rows


def asked(n: int) -> list[dict[str, Any]]:
    """n questions; the text answers three of four, and some by more than one word."""
    rows = []
    for i in range(n):
        one, other = _word(i), _word(7 * i + 3)
        answer = f"{_word(i + 5)} {i}" if i % 2 else f"save{i}"
        text = f"the option of {one}: {answer}. the error of {other}: DEBUG{i}."
        known = [{"start": text.index(": ") + 2, "text": answer}]
        question = "the user of" if i % 4 == 3 else "the option of"
        said = {"question": f"{question} {one}", "answers": [] if i % 4 == 3 else known}
        rows.append(_example(i, text) | said)
    return rows


def translated(n: int) -> list[dict[str, Any]]:
    """n examples whose target has another word for each of two."""
    return [
        _example(i, f"{_word(i)} {_word(7 * i)} {i}")
        | {"target": f"{_word(i + 5)} {_word(7 * i + 5)}", "language": "en"}
        for i in range(n)
    ]


def summarised(n: int) -> list[dict[str, Any]]:
    """n examples whose target is in their first words."""
    rows = []
    for i in range(n):
        one, other = _word(i), _word(7 * i)
        text = f"{one} {other} fixed in {i}. a crash with the {_word(i + 9)}. new documentation."
        rows.append(_example(i, text) | {"target": f"{one} {other} fixed"})
    return rows


def continued(n: int) -> list[dict[str, Any]]:
    """n beginnings, each with its end."""
    return [
        _example(i, f"the {_word(i)} {i}") | {"target": f"of {_word(7 * i)} in {_word(i + 3)}"}
        for i in range(n)
    ]


def sought(n: int) -> list[dict[str, Any]]:
    """n queries in two languages, each with a passage of its own."""
    rows = []
    for i in range(n):
        one, other = _word(i), _word(7 * i)
        target = f"documentation of {other} and {one}, number {i}"
        said = {"target": target, "language": ("en", "de")[i % 2]}
        rows.append(_example(i, f"{one} {other} {i}") | said)
    return rows


def _example(i: int, text: str) -> dict[str, Any]:
    return {"id": f"{i:04}", "source": "s", "group": f"g{i}", "text": text, "language": ""}


def _word(place: int) -> str:
    """A word of the vocabulary that stays what it is in lower case."""
    lower = [word for word in WORDS if word.islower()]
    return lower[place % len(lower)]


EXAMPLES = {
    "classification": classified,
    "sentiment": felt,
    "multilabel": labelled,
    "regression": rated,
    "pairs": paired,
    "tokens": tagged,
    "tags": parsed,
    "question_answering": asked,
    "translation": translated,
    "summarisation": summarised,
    "generation": continued,
    "retrieval": sought,
}
