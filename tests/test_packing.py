import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.core.entry import StepError
from steps.core.files import read_json
from steps.core.params import Pack
from steps.pack import pack
from steps.transfer.packing import Blocks, batches, best_fit, cut, fill, read_tokenizer
from tests.tiny import make_base

documents = st.lists(st.lists(st.integers(1, 999), max_size=60), max_size=30)


@given(documents, st.integers(4, 20))
def test_every_token_is_in_exactly_one_block_and_pieces_keep_their_order(docs, block):
    pieces = [piece for ids in docs for piece in cut(ids, block)]
    groups = best_fit([len(piece) for piece in pieces], block)
    blocks = fill(pieces, groups, block, padding=0)
    assert sorted(n for group in groups for n in group) == list(range(len(pieces)))
    assert blocks.size == sum(map(len, docs))
    back = {}
    for row, group in enumerate(groups):
        for segment, number in enumerate(group, 1):
            back[number] = blocks.tokens[row][blocks.segments[row] == segment].tolist()
    assert [t for number in range(len(pieces)) for t in back[number]] == [
        t for d in docs for t in d
    ]


@given(st.lists(st.integers(1, 16), min_size=1, max_size=80))
def test_no_two_blocks_could_have_been_one(lengths):
    sums = sorted(sum(lengths[n] for n in group) for group in best_fit(lengths, 16))
    assert sums[-1] <= 16
    assert len(sums) < 2 or sums[0] + sums[1] > 16


def test_positions_restart_and_attention_stays_inside_a_piece():
    blocks = fill([(5, 6, 7), (8, 9)], [[0, 1]], 6, padding=0)
    assert blocks.positions()[0].tolist()[:5] == [0, 1, 2, 0, 1]
    allowed = blocks.allowed()[0]
    assert allowed[0].tolist() == [True, True, True, False, False, False]
    assert allowed[3].tolist() == [False, False, False, True, True, False]


def test_an_epoch_has_each_block_once_and_a_seed_gives_one_order():
    blocks = Blocks(np.arange(10)[:, None], np.ones((10, 1)))
    first, again = (
        [batch.tokens.ravel().tolist() for batch in itertools.islice(batches(blocks, 4, 1), 5)]
        for _ in range(2)
    )
    flat = [n for batch in first for n in batch]
    assert first == again
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def test_the_ledger_balances_and_a_corpus_of_two_sentences_packs(base, tmp_path):
    rows = [{"id": str(n), "text": f"the model of view {n}"} for n in range(2)]
    params = Pack(block_tokens=16, held_out=0.5, held_out_tokens=1000, seed=1)
    pack(rows, read_tokenizer(base), params, tmp_path)
    ledger = read_json(tmp_path / "ledger.json")
    assert ledger["train"]["tokens_in"] == ledger["train"]["tokens_out"] > 0
    assert ledger["train"]["documents"] == ledger["held_out"]["documents"] == 1
    first = Blocks.load(tmp_path, "train").tokens[0]
    tokenizer = read_tokenizer(base)
    assert first[0] == tokenizer.token_to_id("[CLS]")
    assert tokenizer.token_to_id("[SEP]") in first


def test_a_corpus_with_nothing_left_is_one_line_that_says_so(base, tmp_path):
    params = Pack(block_tokens=16, held_out=0.5, held_out_tokens=1000, seed=1)
    with pytest.raises(StepError, match="no train document is left"):
        pack([{"id": "a", "text": "the"}], read_tokenizer(base), params, tmp_path)
