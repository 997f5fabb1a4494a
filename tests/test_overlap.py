"""How many texts of RIGHT stand in LEFT: the four levels, the files they are read from."""

import gzip
import io
import json
import random
import unicodedata
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import overlap_table
from pipelines.overlap import PAIRS, RULES, Overlap, overlap
from steps.core.entry import StepError
from steps.corpora.matching import LEVELS, Matcher, Rules, compare, count
from steps.corpora.overlap import collapsed, words

LONG = "The router sends each request to the first worker that answers within a second of it."
WORDS = ("a", "A", "b", "c", "<<c>>", "d,", "é", "E\u0301", "e")


def write(path: Path, texts: list[str], field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts))
    return path


def compared(left: list[str], right: list[str], rules: Rules = RULES) -> list[str]:
    matches = compare(((str(n), text) for n, text in enumerate(left)), right, rules)
    return [LEVELS[match.level] if match else "" for match in matches]


def grams(found: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(found[at : at + size]) for at in range(len(found) - size + 1)}


def brute(left: str, right: str, rules: Rules) -> int:
    """The definition, word for word: the level of one pair, 4 where they have nothing."""
    folded = [
        " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", t).casefold()).split())
        for t in (left, right)
    ]
    if left.strip() == right.strip():
        return 0
    if folded[0] == folded[1]:
        return 1
    one, other = words(left), words(right)
    size = rules.ngram if len(other) >= rules.ngram else max(5, len(other))
    looked_for = grams(other, size)
    shared = len(looked_for & grams(one, size))
    if shared and shared >= rules.containment * len(looked_for):
        return 2
    pairs = [set(pairwise(w)) if len(w) != 1 else {tuple(w)} for w in (one, other)]
    alike = len(pairs[0] & pairs[1]) / (len(pairs[0] | pairs[1]) or 1)
    return 3 if alike >= rules.near else 4


texts = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=8
)
rules = st.builds(
    Rules,
    st.integers(3, 8),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from([0.1, 0.5, 0.8, 1]),
)


@settings(max_examples=200, deadline=None)
@given(texts, texts, rules)
def test_what_is_found_is_what_brute_force_finds(left, right, wanted):
    expected = [min(brute(one, other, wanted) for one in left) for other in right]
    matches = compare(((str(n), text) for n, text in enumerate(left)), right, wanted)
    assert [match.level if match else 4 for match in matches] == expected
    for match, other in zip(matches, right, strict=True):
        assert match is None or brute(left[int(match.place)], other, wanted) == match.level


@settings(max_examples=100, deadline=None)
@given(texts, texts, rules)
def test_the_first_hit_of_each_text_is_the_strongest(left, right, wanted):
    hits = Matcher(right, wanted).first(left)
    levels = [min(brute(one, other, wanted) for other in right) for one in left]
    assert [hit.level if hit else 4 for hit in hits] == levels


@settings(max_examples=60, deadline=None)
@given(texts, texts, rules)
def test_each_level_has_the_one_before(left, right, wanted):
    matches = compare(((str(n), text) for n, text in enumerate(left)), right, wanted)
    found = list(count(matches).values())
    assert found == sorted(found)
    assert found[-1] <= len(right)


def test_the_same_is_found_in_many_batches_and_where_all_texts_share_a_run():
    draw = random.Random(5)
    shared = " ".join(f"s{n}" for n in range(20))
    some = [" ".join(draw.choices([f"w{n}" for n in range(90)], k=30)) for _ in range(200)]
    left = [f"{shared} {text}" for text in some[:150]] + some[100:]
    right = [f"{shared} {text}" for text in some[170:]] + some[50:125:10] + ["nothing of it"]
    for wanted in (Rules(13, 0.0, 0.8), Rules(13, 0.6, 0.8)):
        matches = compare((("", text) for text in left), right, wanted)
        expected = [min(brute(one, other, wanted) for one in left) for other in right]
        assert [match.level if match else 4 for match in matches] == expected


@pytest.mark.parametrize(
    ("left", "right", "level"),
    [
        (f"  {LONG}\n", LONG, "exact"),
        (LONG.upper(), LONG, "normalised"),
        (LONG.replace(" ", "\n\t"), LONG, "normalised"),
        ("Cafe\u0301 and STRASSE", "café and straße", "normalised"),
        (f"He said: {LONG} Then he went.", LONG, "contained"),
        (LONG, f"He said: {LONG} Then he went.", "contained"),
        (
            "First fixed a crash in the lexer, then more.",
            "Fixed a crash in the lexer!",
            "contained",
        ),
        ("Fixed a bug", "Fixed: a bug!", "near"),
        ("one two three four five six seven", "one two three four five six seven eight", "near"),
        ("A <<note>> of it", "A note of <<it>>", ""),
        ("See the manual, please.", "See the manual.", ""),
        ("???", "!!!", ""),
        (LONG, "Nothing of the kind.", ""),
    ],
)
def test_a_text_has_the_strongest_level_that_holds(left, right, level):
    assert compared(["Something else.", left], [right]) == [level]


def test_markers_and_punctuation_are_part_of_a_normalised_text():
    assert collapsed("A <<note>>,  of\nit") == "a <<note>>, of it"
    assert compared([f"<<The>> {LONG}"], [f"The <<{LONG[:6]}>>{LONG[6:]}"]) == ["contained"]


def test_thresholds_are_options():
    left, right = (
        " ".join("abcdefghijklmnopqrstuvwxyz"),
        "z y x " + " ".join("abcdefgh") + " w v u t",
    )
    assert compared([left], [right]) == [""]
    assert compared([left], [right], Rules(8, 0.0, 0.8)) == ["contained"]
    assert compared([left], [right], Rules(8, 0.5, 0.8)) == [""]
    assert compared([left], [right], Rules(13, 0.0, 0.2)) == ["near"]


def test_files_of_different_formats_are_compared(tmp_path):
    left = tmp_path / "left"
    left.mkdir()
    (left / "one.txt").write_text(f"A line.\n{LONG}\n")
    (left / "two.md").write_text("# A title\n\nA paragraph\nof two lines.\n")
    with gzip.open(left / "three.csv.gz", "wt") as out:
        out.write('text,label\n"Fixed a crash, at last.",fix\n')
    pq.write_table(pa.table({"text": ["In a table."]}), left / "four.parquet")
    (left / "five.conll").write_text("John B-PER\nlives O\nhere O\n. O\n\nYes B-X\n")
    (left / "notes.xyz").write_text("no format")
    right = [
        "A paragraph of two lines.",
        "fixed a crash, at last.",
        LONG,
        "In a table.",
        "Yes",
        "No",
    ]
    found = overlap(left, write(tmp_path / "right.jsonl", right))
    assert found.as_json() == {
        "left": 8,
        "right": 6,
        "exact": 3,
        "normalised": 5,
        "contained": 5,
        "near": 5,
    }
    places = {pair.right: pair.left_place for pair in found.pairs}
    assert places[LONG] == "one.txt:2"
    assert places["fixed a crash, at last."].startswith("three.csv")


def test_the_field_is_named_and_others_are_listed(tmp_path):
    left = write(tmp_path / "left.jsonl", [LONG], "sentence")
    right = write(tmp_path / "right.jsonl", [LONG], "sentence")
    with pytest.raises(
        StepError, match=r"left.jsonl: no field 'text'; it has: sentence; say --text"
    ):
        overlap(left, left)
    assert overlap(left, right, "sentence").counts["exact"] == 1


def test_questions_can_be_compared_instead_of_paragraphs(tmp_path):
    asked = {"id": "1", "question": "Who?", "answers": [{"answer_start": 0, "text": "The"}]}
    paragraph = {"context": LONG, "qas": [asked]}
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}))
    right = write(tmp_path / "right.jsonl", ["Who?"])
    assert overlap(file, right).counts["exact"] == 0
    paragraph["qas"][0]["answers"][0]["answer_start"] = 5  # a wrong offset spoils no text
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}))
    assert overlap(file, write(tmp_path / "r.jsonl", [LONG])).counts["exact"] == 1
    with pytest.raises(
        StepError, match=r"no field 'nothing'; it has: question, text|has no record"
    ):
        overlap(file, file, "nothing")


def test_what_cannot_be_read_is_counted_and_said(tmp_path, capsys):
    right = write(tmp_path / "right.jsonl", [LONG, " "])
    with right.open("a") as out:
        out.write('not json\n{"text": 5}\n')
    found = overlap(write(tmp_path / "left.jsonl", [LONG]), right)
    assert (found.left, found.right) == (1, 1)
    said = capsys.readouterr()
    assert "3 records were not read: 1 empty, 1 no_text, 1 not_json" in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.jsonl", None, "no file or folder"),
        ("x.docx", "text", "no file of a known format"),
        ("x.jsonl", "", "has no record with text"),
        ("x.jsonl", "{\n", "has no record with text .1 not_json."),
        ("x.csv", "body\nText\n", "text"),
        ("x.json", "[1]", "not_squad"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(tmp_path, name, content, said):
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    good = write(tmp_path / "good.jsonl", [LONG])
    for sides in ((file, good), (good, file)):
        with pytest.raises(StepError, match=said) as error:
            overlap(*sides)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [Rules(1, 0, 0.8), Rules(13, 1.5, 0.8), Rules(13, 0, 0)])
def test_a_threshold_out_of_its_range_is_one_line(tmp_path, wrong):
    file = write(tmp_path / "x.jsonl", [LONG])
    with pytest.raises(StepError, match="it takes"):
        overlap(file, file, rules=wrong)


def many(tmp_path: Path) -> Overlap:
    some = [f"{n} {LONG}" for n in range(20)]
    right = [
        *some[:8],
        *(text.upper() for text in some[8:12]),
        f"{LONG[:-1]} [else]",
        "a b",
        "New.",
    ]
    return overlap(write(tmp_path / "l.jsonl", [*some, "a, b"]), write(tmp_path / "r.jsonl", right))


@pytest.mark.parametrize("width", [24, 60, 120])
def test_pairs_of_all_levels_are_shown_on_any_terminal(tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    found = many(tmp_path)
    assert len(found.pairs) == PAIRS
    assert {pair.level for pair in found.pairs} == set(LEVELS)
    out = io.StringIO()
    overlap_table.show(found, out)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.strip() in LEVELS for line in lines) == PAIRS
    assert "[else]+}" in out.getvalue()
