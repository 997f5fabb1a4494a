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
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
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
        {
            "id": f"{i:04}",
            "source": f"s{i % 2}",
            "group": f"g{i}",
            "text": f"{kinds[i % 3][1]} the {WORDS[i % 20]} {WORDS[i * 7 % len(WORDS)]} {i}",
            "label": kinds[i % 3][0],
        }
        for i in range(n)
    ]


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
        rows.append(
            {"id": f"{i:04}", "source": "s", "group": f"g{i}", "text": text, "spans": spans}
        )
    return rows


EXAMPLES = {"classification": classified, "tokens": tagged}
