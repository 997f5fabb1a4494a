import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps import ingest as stage
from steps import readers
from steps.core.entry import StepError
from steps.core.examples import KINDS
from steps.core.files import digest, read_json, read_rows, shards
from steps.core.params import Corpus, load
from steps.corpora.cleaning import Rules
from steps.corpora.schemas import SCHEMAS
from steps.ingest import Plan, ingest, plan_of

Record = dict[str, Any]
CLEAN = Rules(False, (), 3, 20, 0.5, (), True)
LABELLED = Rules(False, (), 2, 20, 0.0, (), False)
JSONL = readers.options("jsonl", {}, "test")
CORPUS = Plan("documents", "jsonl", JSONL, False, CLEAN, 0.8)
NOTES = Plan("classification", "jsonl", JSONL, False, LABELLED, 1.0)
ENTITIES = NOTES._replace(kind="tokens")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("DAFT_PROGRESS_BAR", "0")


class Ended:
    """What the stage made of some records."""

    def __init__(self, plan: Plan, folder: Path, records: list[Record]) -> None:
        (folder / "raw").mkdir(parents=True)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "raw" / "notes.jsonl").write_text(lines)
        self.out = folder / "out"
        self.ledger = ingest(plan, folder / "raw", self.out)
        self.kept = read_rows(self.out / stage.folder(plan.kind))
        self.rejected = read_rows(self.out / "rejected")
        self.duplicates = read_rows(self.out / "duplicates")


def record(text: str, source: str = "s", group: str = "g", **more: object) -> Record:
    return {"source": source, "group": group, "text": text, **more}


texts = st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "1", "\n\n"]), max_size=7).map(" ".join)
records = st.lists(
    st.builds(record, texts, st.sampled_from("xyz"), st.sampled_from("gh"))
    | st.just({"no": "text"}),
    max_size=30,
)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(records)
def test_each_record_is_kept_rejected_or_a_duplicate(tmp_path_factory, found):
    ended = Ended(CORPUS, tmp_path_factory.mktemp("stage"), found)
    for counts in (ended.ledger, *ended.ledger["sources"].values()):
        assert counts["read"] == counts["kept"] + counts["rejected"] + counts["duplicates"]
    assert ended.ledger["read"] == len(found)
    assert sum(ended.ledger["reasons"].values()) == ended.ledger["rejected"]
    assert ended.ledger["kept"] == len(ended.kept) == len({row["id"] for row in ended.kept})
    assert ended.ledger["rejected"] == len(ended.rejected)
    assert ended.ledger["duplicates"] == len(ended.duplicates)
    assert {row["kept"] for row in ended.duplicates} <= {row["id"] for row in ended.kept}
    places = sorted(row["place"] for row in [*ended.rejected, *ended.duplicates])
    assert len(set(places)) == len(places)


def test_reasons_are_given_and_places(tmp_path):
    ended = Ended(
        CORPUS,
        tmp_path,
        [
            record("too short"),
            record("word " * 21),
            record("1 2 3 4 5 a"),
            {"label": "x"},
            record("this one is kept"),
        ],
    )
    assert ended.ledger["reasons"] == {
        "too_short": 1,
        "too_long": 1,
        "few_letters": 1,
        "no_text": 1,
    }
    assert [row["text"] for row in ended.kept] == ["this one is kept"]
    found = {row["reason"]: row["place"] for row in ended.rejected}
    assert found["few_letters"] == "notes.jsonl:3"


def test_a_corpus_of_one_sentence_goes_through(tmp_path):
    ended = Ended(CORPUS, tmp_path, [record("this is one sentence.")])
    assert ended.ledger["kept"] == 1


def test_the_first_in_reading_order_is_kept(tmp_path):
    copies = [record("the same text here", source) for source in ("c", "a", "b")]
    ended = Ended(CORPUS, tmp_path, copies)
    assert [row["source"] for row in ended.kept] == ["c"]
    assert {row["kept"] for row in ended.duplicates} == {ended.kept[0]["id"]}


def test_a_task_keeps_the_same_text_with_another_label_and_says_so(tmp_path):
    rows = [record("a text", label=label) for label in ("x", "y", "y")]
    ended = Ended(NOTES, tmp_path, rows)
    kept = {row["label"]: row["id"] for row in ended.kept}
    assert [row["kept"] for row in ended.duplicates] == [kept["y"]]
    assert sorted(row["label"] for row in ended.kept) == ["x", "y"]
    assert len({row["id"] for row in ended.kept}) == 2
    assert [row["kind"] for row in ended.duplicates] == ["exact"]
    assert ended.ledger["conflicts"] == 1


def test_a_given_split_is_kept_and_its_copies_are_no_duplicates(tmp_path):
    rows = [record("a text", label="x", split=part) for part in ("train", "test", "test")]
    ended = Ended(NOTES._replace(given=True), tmp_path / "given", rows)
    assert [row["split"] for row in ended.kept] == ["train", "test"]
    ended = Ended(NOTES, tmp_path / "drawn", rows)
    assert [row["split"] for row in ended.kept] == [""]


def test_an_example_without_its_annotation_is_rejected(tmp_path):
    for name, plan in (("no_label", NOTES), ("no_spans", ENTITIES)):
        assert Ended(plan, tmp_path / name, [record("a text")]).ledger["reasons"] == {name: 1}


def test_spans_outside_the_text_or_over_each_other_are_rejected(tmp_path):
    def spans(*edges: tuple[int, int]) -> list[Record]:
        return [{"start": start, "end": end, "label": "X"} for start, end in edges]

    ended = Ended(
        ENTITIES,
        tmp_path,
        [
            record("a text", spans=spans((0, 9))),
            record("b text", spans=spans((0, 4), (2, 6))),
            record("c  text", spans=spans((3, 7), (0, 1))),
        ],
    )
    assert ended.ledger["reasons"] == {"bad_spans": 2}
    assert [(s["start"], s["end"]) for s in ended.kept[0]["spans"]] == [(0, 1), (2, 6)]


def test_answers_move_with_their_text_and_pairs_are_normalised(tmp_path):
    answers = [{"start": 5, "text": "b  c"}]
    row = record("a\t\t \nb  c d", question="what  is it", answers=answers)
    kept = Ended(NOTES._replace(kind="question_answering"), tmp_path / "qa", [row]).kept[0]
    assert (kept["text"], kept["question"]) == ("a b c d", "what is it")
    assert kept["answers"] == [{"start": 2, "text": "b c"}]
    wrong = row | {"answers": [{"start": 4, "text": "b  c"}]}
    ended = Ended(NOTES._replace(kind="question_answering"), tmp_path / "wrong", [wrong])
    assert ended.ledger["reasons"] == {"answer_offset": 1}
    pair = record("a  text", target=" ein  Text")
    kept = Ended(NOTES._replace(kind="translation"), tmp_path / "pair", [pair]).kept[0]
    assert (kept["text"], kept["target"]) == ("a text", "ein Text")


SPANS = [{"start": 0, "end": 1, "label": "X"}, {"start": 3, "end": 7, "label": "Y"}]
ANNOTATED: dict[str, tuple[Record, Record]] = {  # as it is read, and as it is kept
    "classification": ({"label": " x "}, {"label": "x"}),
    "sentiment": ({"label": "+"}, {"label": "+"}),
    "multilabel": ({"labels": ["y ", "x", "y"]}, {"labels": ["x", "y"]}),
    "regression": ({"score": "2"}, {"score": 2.0}),
    "pairs": ({"pair": "b  text", "label": "x"}, {"pair": "b text", "label": "x"}),
    "tokens": ({"spans": SPANS}, {"spans": [SPANS[0], SPANS[1] | {"start": 2, "end": 6}]}),
    "tags": ({"spans": SPANS}, {"spans": [SPANS[0], SPANS[1] | {"start": 2, "end": 6}]}),
    "question_answering": (
        {"question": "what\tis it", "answers": [{"start": 3, "text": "text"}]},
        {"question": "what is it", "answers": [{"start": 2, "text": "text"}]},
    ),
    **dict.fromkeys(
        ("translation", "summarisation", "generation", "retrieval"),
        ({"target": " ein  Text"}, {"target": "ein Text"}),
    ),
}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"documents"}))
def test_examples_of_each_type_are_kept_normalised_once(tmp_path, kind):
    given, kept = ANNOTATED[kind]
    options = readers.options("jsonl", {}, "test", kind)
    rows = [record("a  text", **given), record("a text", **kept), record("b text")]
    told = [row | {"language": "de"} for row in rows[:1] + rows]
    ended = Ended(NOTES._replace(kind=kind, options=options), tmp_path, told)
    first = {name: ended.kept[0][name] for name in ("text", "language", *kept)}
    assert first == {"text": "a text", "language": "de", **kept}
    assert list(ended.kept[0]) == SCHEMAS[kind].names
    assert (len(ended.duplicates), len(ended.kept)) == (2, 1)
    missing = KINDS[kind][0]
    assert ended.ledger["reasons"] == {f"no_{missing}": 1}


def test_the_same_in_another_language_is_another_example(tmp_path):
    told = [("de", "x"), ("en", "y"), ("en", "y")]
    rows = [record("Gift text", language=code, label=label) for code, label in told]
    ended = Ended(NOTES, tmp_path, rows)
    assert [row["language"] for row in ended.kept] == ["de", "en"]
    assert ended.ledger["conflicts"] == 0


def test_another_pair_or_question_is_neither_a_copy_nor_a_conflict(tmp_path):
    told = [("b", "x"), ("c", "x"), ("B", "y")]
    rows = [record("a text", pair=pair, label=label) for pair, label in told]
    ended = Ended(NOTES._replace(kind="pairs"), tmp_path / "pairs", rows[:2])
    assert (ended.ledger["kept"], ended.ledger["conflicts"]) == (2, 0)
    ended = Ended(NOTES._replace(kind="pairs"), tmp_path / "conflict", rows)
    assert (ended.ledger["kept"], ended.ledger["conflicts"]) == (3, 1)
    rows = [record("a text", question=asked, answers=[]) for asked in ("who", "what")]
    ended = Ended(NOTES._replace(kind="question_answering"), tmp_path / "asked", rows)
    assert (ended.ledger["kept"], ended.ledger["conflicts"]) == (2, 0)


def test_a_tag_stays_with_its_word_when_the_text_is_cleaned(tmp_path):
    text = "a\u200b  cafe\u0301\t,b"
    words = [(0, 2), (4, 9), (10, 11), (11, 12)]
    spans = [{"start": s, "end": e, "label": text[s:e][0]} for s, e in words]
    (kept,) = Ended(NOTES._replace(kind="tags"), tmp_path, [record(text, spans=spans)]).kept
    assert kept["text"] == "a café ,b"
    found = [(kept["text"][s["start"] : s["end"]], s["label"]) for s in kept["spans"]]
    assert found == [("a", "a"), ("café", "c"), (",", ","), ("b", "b")]


def test_the_same_files_give_the_same_bytes_whatever_the_portions(tmp_path, monkeypatch):
    draw = random.Random(1)
    for number in range(3):
        rows = [record(" ".join(draw.choices("abc", k=draw.randint(1, 9)))) for _ in range(40)]
        (tmp_path / "raw").mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "raw" / f"{number}.jsonl").write_text(lines)
    for name, portion in (("one", stage.PORTION), ("two", stage.PORTION), ("three", 1)):
        monkeypatch.setattr(stage, "PORTION", portion)
        ingest(CORPUS, tmp_path / "raw", tmp_path / name)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    for folder in ("documents", "rejected", "duplicates"):
        assert read_rows(tmp_path / "one" / folder) == read_rows(tmp_path / "three" / folder)
    assert read_json(tmp_path / "one/ledger.json") == read_json(tmp_path / "three/ledger.json")


def test_masked_data_is_counted(tmp_path):
    rows = [record("write to me@example.org today"), record("and to you@example.org soon")]
    ended = Ended(CORPUS, tmp_path, rows)
    assert ended.kept[0]["text"] == "write to <EMAIL> today"
    assert ended.ledger["masked"] == {"EMAIL": 2}
    assert ended.ledger["masked_records"] == 2


def test_what_is_empty_still_has_its_columns(tmp_path):
    ended = Ended(CORPUS, tmp_path, [record("this one is kept")])
    assert [len(shards(ended.out / name)) for name in ("documents", "rejected")] == [1, 1]
    assert ended.rejected == []


def test_a_reader_that_finds_nothing_is_told_in_one_line(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(StepError, match=r"reader 'jsonl' found nothing to read .*\(1 \.csv\)"):
        ingest(CORPUS, tmp_path, tmp_path / "out")


def test_files_without_records_and_records_all_rejected_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    file = tmp_path / "raw" / "a.rst"
    for text, said in (
        ("\n", "hold no records"),
        ("Two words.\n", "nothing of .* is kept: {'too_"),
    ):
        file.write_text(text)
        with pytest.raises(StepError, match=said):
            stage.main("corpus", "pydocs", file.parent, tmp_path / "out", tmp_path / "m.json")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reader": "rst_changes"}, "gives classification, not documents"),
        ({"reader": "jsonl", "options": {"txt": "a"}}, "txt is not a key"),
        ({"filters": ["gopher"]}, "no filter .*'gopher'"),
    ],
)
def test_wrong_settings_are_told_in_one_line(change, said):
    entry = load().corpora["pydocs"].model_dump() | change
    with pytest.raises(StepError, match=said):
        plan_of(Corpus(**entry), "corpora.pydocs")
