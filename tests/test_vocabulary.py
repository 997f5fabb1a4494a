import json
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from steps.core.entry import StepError
from steps.transfer import vocabulary
from steps.transfer.vocabulary import count_words, extend, fertility

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"] + ["café", "дом", "हिन"]


def made_up(seed: int, number: int, shortest: int, longest: int) -> list[str]:
    rng = random.Random(seed)
    return [
        "".join(rng.choices(SYLLABLES, k=rng.randint(shortest, longest))) for _ in range(number)
    ]


def written(seed: int, words: list[str], number: int) -> list[str]:
    rng = random.Random(seed)
    texts = []
    for _ in range(number):
        said = rng.choices(words, k=8)
        said[0], said[3] = said[0].capitalize(), f"{said[3]},"
        texts.append(f"{' '.join(said)} ({rng.choice(words)}) {rng.randint(0, 99)}.")
    return texts


COMMON = made_up(1, 150, 1, 3)
GENERAL = written(2, COMMON, 600)
FIELD = made_up(3, 30, 4, 6)
DOMAIN = written(4, FIELD + COMMON, 300)
SPECIAL = ["<pad>", "<unk>", "</s>", "<mask>"]


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    """Train on general text; one special token stands beside the model, as T5's sentinels do."""
    tokenizer.train_from_iterator(GENERAL, trainer)
    tokenizer.add_special_tokens(["<extra_id_0>"])
    return tokenizer


def wordpiece() -> Tokenizer:
    """BERT's, uncased."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    size = {"vocab_size": 350, "special_tokens": SPECIAL, "show_progress": False}
    return trained(tokenizer, trainers.WordPieceTrainer(**size))


def bytes_bpe() -> Tokenizer:
    """GPT-2's and RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    size = {"vocab_size": 450, "special_tokens": SPECIAL, "show_progress": False}
    return trained(tokenizer, trainers.BpeTrainer(**size, initial_alphabet=letters))


def spaced_bpe() -> Tokenizer:
    """Llama's: its pre-tokenizer marks spaces and leaves a text whole."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    size = {"vocab_size": 300, "special_tokens": SPECIAL, "show_progress": False}
    trained(tokenizer, trainers.BpeTrainer(**size))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.decoder = decoders.Metaspace(split=False)
    return tokenizer


def unigram() -> Tokenizer:
    """T5's and XLM-R's: punctuation stays at its word."""
    tokenizer = Tokenizer(models.Unigram())
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.Metaspace()
    size = {"vocab_size": 300, "special_tokens": SPECIAL, "show_progress": False}
    return trained(tokenizer, trainers.UnigramTrainer(**size, unk_token="<unk>"))


def suffix_bpe() -> Tokenizer:
    """That of the first GPT: the last piece of a word is marked."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    size = {"vocab_size": 350, "special_tokens": SPECIAL, "show_progress": False}
    return trained(tokenizer, trainers.BpeTrainer(**size, end_of_word_suffix="</w>"))


Grown = tuple[Tokenizer, Counter[str], Tokenizer, dict[int, list[int]]]
KINDS: dict[str, Callable[[], Tokenizer]] = {
    made.__name__: made for made in (wordpiece, bytes_bpe, spaced_bpe, unigram, suffix_bpe)
}


@cache
def build(kind: str) -> Grown:
    """A tokenizer, the words of the domain, the tokenizer grown by them, and what it gained."""
    tokenizer = KINDS[kind]()
    words = count_words(DOMAIN, tokenizer)
    return tokenizer, words, *extend(tokenizer, words, 30)


@pytest.fixture(params=KINDS)
def grown(request: pytest.FixtureRequest) -> Grown:
    return build(request.param)


def expanded(ids: list[int], pieces: dict[int, list[int]]) -> list[int]:
    return [old for number in ids for old in pieces.get(number, [number])]


def test_a_new_token_makes_its_word_one_token(grown: Grown):
    old, _, new, pieces = grown
    assert len(pieces) == 30
    for number, parts in pieces.items():
        suffix = getattr(old.model, "end_of_word_suffix", None) or ""
        word = new.id_to_token(number)
        if not suffix or word.endswith(suffix):
            ids = [[t.id for t in t.model.tokenize(word.removesuffix(suffix))] for t in (old, new)]
            assert ids == [parts, [number]]


def test_words_of_the_field_that_the_tokenizer_tore_are_whole():
    for kind in ("wordpiece", "unigram"):
        _, _, new, pieces = build(kind)
        found = {new.id_to_token(number).removeprefix("▁") for number in pieces}
        plain = {build("wordpiece")[0].normalizer.normalize_str(word) for word in FIELD}
        assert len(found & (plain | set(FIELD))) >= 25


def test_old_ids_stay_and_new_ones_follow_the_added_tokens(grown: Grown):
    old, _, new, pieces = grown
    before, after = old.get_vocab(), new.get_vocab()
    assert list(pieces) == list(range(len(before), len(before) + len(pieces)))
    assert {token: after[token] for token in before} == before
    assert new.encode("<extra_id_0>").ids == old.encode("<extra_id_0>").ids
    assert max(max(parts) for parts in pieces.values()) < len(before)


def test_text_decodes_as_before_and_what_holds_no_new_token_is_cut_as_before(grown: Grown):
    old, words, new, pieces = grown
    for text in DOMAIN + GENERAL:
        assert new.decode(new.encode(text).ids) == old.decode(old.encode(text).ids)
    for word in words:
        before, after = ([token.id for token in t.model.tokenize(word)] for t in (old, new))
        assert before == after or pieces.keys() & set(after)
        assert len(after) <= len(before)


@given(st.lists(st.sampled_from(SYLLABLES + FIELD + list(" ,.X7é日-_▁'\n")), max_size=30))
def test_any_text_expanded_by_the_old_pieces_reads_the_same(parts: list[str]):
    for kind in KINDS:
        old, _, new, pieces = build(kind)
        before = old.encode("".join(parts)).ids
        after = expanded(new.encode("".join(parts)).ids, pieces)
        assert old.decode(after) == old.decode(before)
        assert after == before or "bpe" not in kind  # new merges come after all old ones


def test_fertility_falls_and_counts_tokens_a_running_word(grown: Grown):
    old, words, new, _ = grown
    assert fertility(new, words) < 0.95 * fertility(old, words)
    two = dict.fromkeys(list(words)[:2], 1)
    assert fertility(old, two) == sum(len(old.model.tokenize(word)) for word in two) / 2
    assert fertility(old, {}) == 0


@pytest.mark.parametrize("limit", [0, 1, 7, 100_000])
def test_there_are_at_most_so_many_new_tokens(grown: Grown, limit: int):
    old, words, _, _ = grown
    before = old.to_str()
    new, pieces = extend(old, words, limit)
    assert len(pieces) == limit or limit == 100_000
    assert len(new.get_vocab()) == len(old.get_vocab()) + len(pieces)
    assert old.to_str() == before


def test_the_order_in_which_words_were_met_does_not_matter(grown: Grown):
    old, words, new, pieces = grown
    again = extend(old, dict(reversed(list(words.items()))), 30)
    assert (again[0].to_str(), again[1]) == (new.to_str(), pieces)


def test_what_is_rare_or_has_no_letter_becomes_no_token(grown: Grown):
    old, _, _, _ = grown
    texts = ["bababosote"] * 4 + ["12345678 ++==++ ☃☃"] * 50
    assert extend(old, count_words(texts, old), 10)[1] == {}
    assert extend(old, count_words([*texts, "bababosote"], old), 10)[1] != {}


@pytest.mark.parametrize("kind", ["wordpiece", "spaced_bpe", "unigram"])
def test_what_has_an_unknown_letter_becomes_no_token(kind: str):
    old = build(kind)[0]
    assert extend(old, count_words(["日本 ba日 日ba"] * 50, old), 10)[1] == {}


def test_a_digest_becomes_no_token():
    old = build("wordpiece")[0]
    texts = ["badefa" * 6] * 50
    assert extend(old, count_words(texts, old), 10)[1] == {}


def test_a_word_is_a_token_without_the_punctuation_at_it():
    old = build("unigram")[0]
    texts = ["=gudapomiro= gudapomiro, x.gudapomiro="] * 10
    new, pieces = extend(old, count_words(texts, old), 10)
    assert {new.id_to_token(n) for n in pieces} == {"▁gudapomiro", "gudapomiro"}
    assert "gudapomiro" in new.encode("=gudapomiro,").tokens


def test_what_costs_most_tokens_comes_first_and_ties_go_by_the_alphabet():
    tokenizer = Tokenizer(models.WordPiece({"<unk>": 0, "a": 1, "##a": 2}, unk_token="<unk>"))
    words = {"aa": 30, "aaa": 20, "aaaa": 10, "aaaaa": 10}
    new, pieces = extend(tokenizer, words, 3)
    assert [new.id_to_token(number) for number in pieces] == ["aaa", "aaaaa", "aa"]
    assert pieces[3] == [1, 2, 2]


def test_bpe_merges_the_most_frequent_pair_first_and_builds_words_step_by_step():
    letters = {letter: number for number, letter in enumerate("abcx")}
    tokenizer = Tokenizer(models.BPE(letters, []))
    new, pieces = extend(tokenizer, {"abc": 20, "xb": 15, "bcx": 7}, 10)
    assert [new.id_to_token(number) for number in pieces] == ["bc", "abc", "xb", "bcx"]
    assert list(pieces.values()) == [[1, 2], [0, 1, 2], [3, 1], [1, 2, 3]]


def test_words_are_counted_as_the_model_sees_them():
    text = "Bado, bado café"
    assert count_words([text], build("wordpiece")[0]) == {"bado": 2, ",": 1, "cafe": 1}
    assert count_words([text], build("bytes_bpe")[0]).keys() == {"Bado", ",", "Ġbado", "ĠcafÃ©"}
    assert count_words([text], build("spaced_bpe")[0]).keys() == {"▁Bado,", "▁bado", "▁café"}
    assert count_words([text], Tokenizer(models.BPE())) == {text: 1}


def test_past_its_memory_the_counter_forgets_the_rarest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vocabulary, "MOST", 100)
    texts = ["often " * 9 + " ".join(f"w{text}x{n}" for n in range(20)) for text in range(50)]
    counts = count_words(texts, build("wordpiece")[0])
    assert counts["often"] == 450
    assert len(counts) <= 100


def test_a_tokenizer_of_whole_words_is_refused_in_one_line():
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    with pytest.raises(StepError, match="a WordLevel tokenizer takes no new tokens, only BPE"):
        extend(tokenizer, {"word": 9}, 5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("wordpiece", "Bert"), ("bytes_bpe", "GPT2"), ("bytes_bpe", "Roberta"), ("unigram", "T5"),
     ("unigram", "XLMRoberta"), ("unigram", "DebertaV2")],
)  # fmt: skip
def test_transformers_reads_the_grown_tokenizer_as_it_is(kind: str, name: str, tmp_path: Path):
    """It builds its own from the model and the vocabulary in tokenizer.json."""
    import transformers

    model = json.loads(build(kind)[0].to_str())["model"]
    made = {"merges": list(map(tuple, model["merges"]))} if "merges" in model else {}
    vocab = model["vocab"] if made or kind == "wordpiece" else list(map(tuple, model["vocab"]))
    wrapped = getattr(transformers, f"{name}Tokenizer")(vocab=vocab, **made)
    wrapped.save_pretrained(tmp_path)
    old = wrapped.backend_tokenizer
    new, pieces = extend(old, count_words(DOMAIN, old), 40)
    new.save(str(tmp_path / "tokenizer.json"))
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(read) is type(wrapped)
    assert [read(text).input_ids for text in DOMAIN] == [new.encode(text).ids for text in DOMAIN]
    assert read.all_special_ids == wrapped.all_special_ids
    assert len(read) == len(wrapped) + len(pieces)
