"""Reading items as rows of tokens: words that a tokenizer tears, windows, pairs, odd texts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from steps.tasks import task_type
from steps.transfer.networks import Shape, network
from steps.transfer.networks.encoder import Encoder
from steps.transfer.networks.rows import Reader
from steps.transfer.packing import read_tokenizer
from steps.transfer.strategies import Material
from tests.families import make_family
from tests.tiny import WORDS, make_base

LONG = " ".join(WORDS * 3)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tokenizer(base) -> Tokenizer:
    return read_tokenizer(base)


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    """One token a byte, and no token beside the text's own."""
    every = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=every, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return made


def units(text: str) -> list[tuple[int, int]]:
    return task_type("tokens").units({"text": text})


def read(tokenizer: Tokenizer, text: str, most: int, last: bool = False):
    return Reader(tokenizer, ("text",), most, last).words([{"text": text}], [units(text)])


def test_a_torn_word_is_read_at_its_first_token_or_its_last(tokenizer):
    text = "the xyz cache"
    tokens = tokenizer.encode(text).tokens
    assert tokens == ["[CLS]", "the", "x", "##y", "##z", "cache", "[SEP]"]
    (row,), (other,) = read(tokenizer, text, 16), read(tokenizer, text, 16, last=True)
    assert row.columns.tolist() == [1, 2, 5]
    assert other.columns.tolist() == [1, 4, 5]
    assert row.offsets[3].tolist() == [5, 6]
    assert row.offsets[0].tolist() == [-1, -1]


def test_each_unit_is_read_once_where_it_has_most_around_it(tokenizer):
    rows = read(tokenizer, LONG, 16)
    assert all(row.size <= 16 for row in rows)
    found = np.concatenate([row.units for row in rows])
    assert found.tolist() == list(range(len(units(LONG))))
    for row in rows[1:-1]:  # a fourth of 16 is in two windows: two units from the edge
        assert min(row.columns) >= 2
        assert max(row.columns) <= row.size - 3


def test_a_long_text_is_read_as_its_windows_are_in_their_middles(base):
    kind = task_type("tokens")
    classes = kind.classes(["a"])
    made = network("classes").build(base, Material("tokens", classes, [], 32), Shape())
    rows = made.reader.words([{"text": LONG}], [units(LONG)])
    assert len(rows) > 3
    (whole,) = made.scores([{"text": LONG}], 2)
    for row in rows:
        inside = row.offsets[row.offsets[:, 0] >= 0]
        start, end = int(inside[0, 0]), int(inside[-1, 1])
        (alone,) = made.scores([{"text": LONG[start:end]}], 1)
        first = len(units(LONG[:start]))
        np.testing.assert_allclose(whole[row.units], alone[row.units - first], atol=1e-4)


@pytest.mark.parametrize("text", ["", " \n\t ", "\u200b", "the\u200bcache", "…" * 50])
def test_an_odd_text_is_read_whatever_is_in_it(tokenizer, letters, text):
    for reader in (tokenizer, letters):
        rows = read(reader, text, 16)
        assert sum(len(row.units) for row in rows) == len(units(text))
        (row,) = Reader(reader, ("text",), 16).whole([{"text": text}])
        assert len(row.units) == 1


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_a_text_without_tokens_has_a_vector_that_no_other_text_changes(tmp_path, kind):
    encoder = Encoder(make_family(kind, tmp_path))
    empty, other = Reader(encoder.tokenizer, ("text",), 16).whole([{"text": ""}, {"text": "the a"}])
    with torch.inference_mode():
        alone, together = encoder(encoder.inputs([empty])), encoder(encoder.inputs([empty, other]))
    assert alone.isfinite().all()
    torch.testing.assert_close(alone[0, 0], together[0, 0])


def test_a_pair_has_its_own_types_and_offsets(tokenizer):
    reader = Reader(tokenizer, ("text", "pair"), 16)
    (row,) = reader.whole([{"text": "the cache", "pair": "a view"}])
    assert row.types.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert row.offsets[:, 0].tolist() == [-1, -1, -1, -1, 0, 2, -1]


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlnet", "gpt2", "llama", "t5"])
def test_every_window_of_a_long_text_has_the_whole_question(tmp_path, kind):
    reader = Reader(read_tokenizer(make_family(kind, tmp_path)), ("question", "text"), 20)
    rows = reader.windows([{"question": "the option of", "text": LONG}])
    first = rows[0].ids[: np.argmax(rows[0].offsets[:, 0] >= 0)]
    seen = set()
    for row in rows:
        assert row.size <= 20
        assert row.ids[: len(first)].tolist() == first.tolist()
        seen |= {tuple(pair) for pair in row.offsets.tolist() if pair[0] >= 0}
    assert len(seen) == len(LONG.split())


@pytest.mark.parametrize("question", ["", "the", "a field " * 20, "zzzz " * 20, "😀" * 20])
@pytest.mark.parametrize("text", ["", "  ", LONG, "😀" * 30])
def test_a_question_leaves_room_for_the_text_in_the_smallest_window(
    tokenizer, letters, question, text
):
    for reader in (tokenizer, letters):
        for most in range(8, 20):
            rows = Reader(reader, ("question", "text"), most).windows(
                [{"question": question, "text": text}]
            )
            assert all(row.size <= most for row in rows)
            assert not text.strip() or rows[-1].offsets[:, 1].max() == len(text.rstrip())
