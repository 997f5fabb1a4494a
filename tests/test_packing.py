"""Packing loses nothing: tokens in are tokens out, in order, each in exactly one block."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core.entry import StepError
from steps.core.files import write_json, write_rows
from steps.core.params import Pack
from steps.pack import Manner, Packer, grow, positions
from steps.transfer.packing import Blocks, Part, best_fit, cuts, frame, order, read_tokenizer
from tests.families import make_family
from tests.tiny import WORDS, make_base

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])
PARAMS = {"block_tokens": 16, "held_out": 0.3, "held_out_tokens": 200, "seed": 1}
documents = st.lists(st.lists(st.sampled_from([*WORDS, "zebra-7", "…"]), max_size=40), max_size=12)


@given(st.integers(0, 300), st.integers(1, 20))
def test_a_document_is_cut_into_full_pieces_and_a_remainder(length, room):
    sizes = [b - a for a, b in itertools.pairwise(cuts(length, room))]
    assert sum(sizes) == length
    assert all(size == room for size in sizes[:-1])
    assert all(0 < size <= room for size in sizes)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=80))
def test_every_piece_is_in_one_block_and_no_two_blocks_could_have_been_one(lengths):
    groups = best_fit(lengths, 16)
    assert sorted(n for group in groups for n in group) == list(range(len(lengths)))
    sums = sorted(sum(lengths[n] for n in group) for group in groups)
    assert sums[-1] <= 16
    assert len(sums) < 2 or sums[0] + sums[1] > 16


def test_positions_restart_and_attention_stays_inside_a_piece():
    blocks = Blocks.create(1, 6, padding=0)
    pieces = [np.array([5, 6, 7]), np.array([8, 9])]
    blocks.fill([[0, 1]], lambda n: (pieces[n], np.ones(len(pieces[n]), dtype=np.bool_)))
    assert blocks.positions()[0].tolist()[:5] == [0, 1, 2, 0, 1]
    allowed = blocks.allowed()[0]
    assert allowed[0].tolist() == [True, True, True, False, False, False]
    assert allowed[3].tolist() == [False, False, False, True, True, False]


def test_an_epoch_has_each_block_once_and_a_seed_gives_one_order():
    part = Part("c", 1.0, first=5, count=10, tokens=100)
    first, again = (list(itertools.islice(order([part], 1), 20)) for _ in range(2))
    assert first == again
    assert sorted(first[:10]) == sorted(first[10:]) == list(range(5, 15))
    assert first[:10] != first[10:]


def test_parts_are_read_by_their_shares_of_the_tokens():
    parts = [
        Part("corpora/a", 0.7, 0, 100, 10_000),  # 100 tokens a block
        Part("tasks/b", 0.3, 100, 7, 350),  # 50
        Part("replay/c", 0.0, 107, 9, 900),
    ]
    drawn = np.array(list(itertools.islice(order(parts, 3), 1000)))
    tokens = {"a": 100 * (drawn < 100).sum(), "b": 50 * ((drawn >= 100) & (drawn < 107)).sum()}
    assert drawn.max() < 107
    assert tokens["a"] / sum(tokens.values()) == pytest.approx(0.7, abs=0.01)
    for ten in drawn.reshape(-1, 10):  # evenly: no run of one part alone
        assert 3 <= (ten < 100).sum() <= 7


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    return make_family("gpt2", tmp_path_factory.mktemp("gpt2"))


def text_of(folder: Path, **parts: list[str]) -> Path:
    """Write the text of an adaptation: documents a part, all with the same share."""
    for part, texts in parts.items():
        rows = [{"id": f"{part}{n}", "text": text} for n, text in enumerate(texts)]
        write_rows(folder / "corpora" / part / "part-00000.parquet", rows, SCHEMA)
    named = [{"part": f"corpora/{part}", "share": 1 / len(parts)} for part in parts]
    write_json(folder / "text.json", {"parts": named})
    return folder


def packed(base: Path, texts: Path, out: Path, **changed) -> dict:
    params = Pack(**(PARAMS | changed))
    manner = Manner.read(base, read_tokenizer(base), params.block_tokens)
    return Packer(manner, params, out).pack(texts)


def pieces_in(blocks: Blocks) -> list[list[int]]:
    return [
        row[segments == number].tolist()
        for row, segments in zip(blocks.tokens, blocks.segments, strict=True)
        for number in range(1, int(segments.max(initial=0)) + 1)
    ]


@settings(max_examples=40)
@given(documents, documents, st.integers(8, 40))
def test_tokens_in_are_tokens_out(base, gpt2, first, second, block):
    """Over generated corpora, for a base that frames each piece and for one that ends documents."""
    for start in (base, gpt2):
        texts = {name: [" ".join(d) for d in part] for name, part in (("a", first), ("b", second))}
        with tempfile.TemporaryDirectory() as folder:
            text_of(Path(folder) / "texts", **texts)
            try:
                ledger = packed(start, Path(folder) / "texts", Path(folder), block_tokens=block)
            except StepError:  # a part with nothing in it, whose words are tested below
                continue
            check_ledger(ledger, texts, start, Path(folder))


def check_ledger(ledger: dict, texts: dict[str, list[str]], start: Path, out: Path) -> None:
    """Count the texts' own tokens again, and find each of them in the blocks."""
    tokenizer = read_tokenizer(start)
    special = {token for part in frame(tokenizer) for token in part} or {0}
    for name, found in texts.items():
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in found]
        counts = ledger[f"corpora/{name}"]
        splits = ["held_out"] if len(found) == 1 else ["train", "held_out"]
        assert sum(counts[s]["tokens_in"] for s in splits) == sum(map(len, ids))
        inside = []
        for split in splits:
            at = counts[split]["first"]
            blocks = Blocks.load(out, split)[at : at + counts[split]["blocks"]]
            assert blocks.size == counts[split]["tokens"]
            inside += [t for piece in pieces_in(blocks) for t in piece if t not in special]
        assert sorted(inside) == sorted(t for one in ids for t in one if t not in special)


def test_long_documents_keep_their_order_and_each_piece_has_its_frame(base, tmp_path):
    texts = [" ".join(WORDS[(n + k) % len(WORDS)] for k in range(60)) for n in range(6)]
    packed(base, text_of(tmp_path / "texts", a=texts), tmp_path)
    tokenizer = read_tokenizer(base)
    before, after = frame(tokenizer)
    bare = []
    for split in ("train", "held_out"):
        for piece in pieces_in(Blocks.load(tmp_path, split)):
            assert piece[:1] == before
            assert piece[-1:] == after
            bare.append(piece[1:-1])
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        bounds = itertools.pairwise(cuts(len(ids), PARAMS["block_tokens"] - 2))
        assert all(ids[a:b] in bare for a, b in bounds)


def test_a_document_ends_once_where_the_base_frames_nothing(gpt2, tmp_path):
    texts = [" ".join(WORDS[k % len(WORDS)] for k in range(n)) for n in (50, 3, 20, 7)]
    packed(gpt2, text_of(tmp_path / "texts", a=texts), tmp_path)
    end = read_tokenizer(gpt2).token_to_id("<|endoftext|>")
    pieces = [p for s in ("train", "held_out") for p in pieces_in(Blocks.load(tmp_path, s))]
    assert sum(piece.count(end) for piece in pieces) == len(texts)
    assert all(end not in piece[:-1] for piece in pieces)


def test_words_begin_where_the_tokenizer_says_so(base, tmp_path):
    packed(base, text_of(tmp_path / "texts", a=["zebra the qq", "model"]), tmp_path, held_out=0.4)
    tokenizer = read_tokenizer(base)
    for split in ("train", "held_out"):
        blocks = Blocks.load(tmp_path, split)
        for token, start, segment in zip(
            blocks.tokens[0], blocks.starts[0], blocks.segments[0], strict=True
        ):
            goes_on = tokenizer.id_to_token(int(token)).startswith("##")
            assert bool(start) == (segment > 0 and not goes_on)


def test_a_text_of_one_document_is_trained_on_and_measured(base, tmp_path):
    ledger = packed(base, text_of(tmp_path / "texts", a=["the model of view"]), tmp_path)
    assert ledger["corpora/a"]["train"] == ledger["corpora/a"]["held_out"]


def test_a_corpus_with_nothing_in_it_is_one_line_that_says_so(base, tmp_path):
    with pytest.raises(StepError, match=r"no document is left in .*corpora/a; give its corpus"):
        packed(base, text_of(tmp_path / "texts", a=[]), tmp_path)
    with pytest.raises(StepError, match="corpora/b has no train document with a token in it"):
        packed(base, text_of(tmp_path / "more", b=["", "the"]), tmp_path, held_out=0.4)


def test_blocks_longer_than_the_base_reads_are_refused(base, tmp_path):
    with pytest.raises(StepError, match=r"pack\.block_tokens is 128, but .* at most 64 tokens"):
        packed(base, text_of(tmp_path / "texts", a=["the"]), tmp_path, block_tokens=128)


def test_how_much_a_base_reads_is_its_own_configurations_word():
    bert = {"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}
    assert positions(bert) == 512
    assert positions(bert | {"model_type": "roberta", "pad_token_id": 1}) == 510
    assert positions({"model_type": "gpt2", "n_positions": 1024}) == 1024
    assert positions({"n_positions": 512, "relative_attention_num_buckets": 32}) is None
    assert positions({"model_type": "xlnet"}) is None


def test_new_tokens_come_from_the_training_text_alone(base, tmp_path):
    texts = text_of(tmp_path / "texts", a=[f"zebra number {n}" for n in range(40)])
    tokenizer = read_tokenizer(base)
    grown, words = grow(texts, tokenizer, 1, Pack(**PARAMS))
    assert grown.get_vocab_size() == tokenizer.get_vocab_size() + 1
    assert words["fertility"] < words["fertility_before"]
    assert grown.encode("number", add_special_tokens=False).ids == [int(n) for n in words["pieces"]]
