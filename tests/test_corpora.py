import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.corpora import dedup, pii
from steps.corpora.normalise import normalise, normalise_spans

WORDS = [*"abcdefghijklmnopqr"]


def test_white_space_is_folded_and_paragraphs_stay() -> None:
    assert normalise(" a\tb\u00a0 c \r\n \r\n\r\nd\ne ") == "a b c\n\nd e"


def test_control_characters_go_and_markers_stay() -> None:
    assert normalise("a\x00b\u200b <<c>> [[d]] \ufeffe") == "ab <<c>> [[d]] e"


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(st.text(), st.text(min_size=1), st.text())
def test_spans_follow_their_text(before: str, inside: str, after: str) -> None:
    span = {"start": len(before), "end": len(before) + len(inside), "label": "X"}
    text, spans = normalise_spans(before + inside + after, [span])
    assert [text[s["start"] : s["end"]] for s in spans] == [normalise(inside)] * len(spans)
    assert bool(spans) == bool(normalise(inside))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jane.doe@example.org.", "write to <EMAIL>."),
        ("from 8.8.8.8 today", "from <IP> today"),
        ("pay to DE89 3704 0044 0532 0130 00 now", "pay to <IBAN> now"),
        ("card 4111 1111 1111 1111.", "card <CARD>."),
        ("call +49 89 1234567", "call <PHONE>"),
        ("AKIA" + "ABCDEFGHIJKLMNOP is it", "<KEY> is it"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert pii.mask(text)[0] == masked
    assert pii.mask(text)[1].total() == 1


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01",
        "on 127.0.0.1 and 10.0.0.1",
        "version 1.2.3.4.5 of 2024-10-28",
        "the @decorator of a.b.c",
        "<<entity>> and [[other]]",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert pii.mask(text)[0] == text


def test_the_first_of_exact_copies_is_kept() -> None:
    assert dedup.exact(["a", "b", "a", "c", "b", "a"]) == {2: 0, 4: 1, 5: 0}


def variant(at: int) -> str:
    return " ".join([*WORDS * 4, str(at)])


def test_near_copies_are_found_and_others_are_not() -> None:
    other = " ".join(reversed(WORDS * 4))
    assert dedup.near([variant(1), other, variant(2), variant(3)], 0.8) == {2: 0, 3: 0}


def test_markers_make_texts_differ() -> None:
    texts = [" ".join([*WORDS[:at], f"<<{WORDS[at]}>>", *WORDS[at + 1 :]]) for at in (2, 8)]
    assert dedup.near(texts, 0.8) == {}


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99])
def test_bands_find_pairs_at_the_threshold(threshold: float) -> None:
    count = dedup.bands(threshold)
    assert dedup.HASHES % count == 0
    found = 1 - (1 - threshold ** (dedup.HASHES // count)) ** count
    assert found >= dedup.RECALL or count == dedup.HASHES
