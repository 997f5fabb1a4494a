import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core.entry import StepError
from steps.core.files import read_rows
from steps.ingest import Record, Rules, ingest, read, save

CORPUS = Rules("documents", 3, 20, 0.5, 0.8, mask_pii=True)
NOTES = Rules("classification", 2, 20, 0, 1, mask_pii=False)
ENTITIES = Rules("tokens", 2, 20, 0, 1, mask_pii=False)


def record(text: str, source: str = "s", group: str = "g", **more: object) -> Record:
    return {"source": source, "group": group, "text": text, **more}


texts = st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "1", "\n\n"]), max_size=7).map(" ".join)
records = st.lists(
    st.builds(
        record,
        texts,
        st.sampled_from("xyz"),
        st.sampled_from("gh"),
        reason=st.sampled_from(["", "", "", "bad_record"]),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(records)
def test_each_record_is_kept_rejected_or_a_duplicate(found: list[Record]) -> None:
    ended = ingest(found, CORPUS)
    for counts in (ended.ledger, *ended.ledger["sources"].values()):
        assert counts["read"] == counts["kept"] + counts["rejected"] + counts["duplicates"]
    assert ended.ledger["read"] == len(found)
    assert sum(ended.ledger["reasons"].values()) == ended.ledger["rejected"]
    rows = [*ended.kept, *ended.rejected, *ended.duplicates]
    assert len({row["id"] for row in rows}) == len(found)
    assert {row["kept"] for row in ended.duplicates} <= {row["id"] for row in ended.kept}


def test_reasons_are_given() -> None:
    rows = ingest(
        [
            record("too short"),
            record("word " * 21),
            record("1 2 3 4 5 a"),
            record("a b c d", reason="not_utf8"),
            record("this one is kept"),
        ],
        CORPUS,
    )
    reasons = {"too_short": 1, "too_long": 1, "few_letters": 1, "not_utf8": 1}
    assert rows.ledger["reasons"] == reasons
    assert [row["text"] for row in rows.kept] == ["this one is kept"]


def test_the_first_by_source_and_group_is_kept_whatever_the_order() -> None:
    copies = [record("the same text here", source) for source in ("c", "a", "b")]
    for order in (copies, copies[::-1]):
        (kept,) = ingest(order, CORPUS).kept
        assert kept["source"] == "a"


def test_a_task_keeps_the_same_text_with_another_label() -> None:
    found = ingest(
        [record("a text", label="x"), record("a text", label="y"), record("a text", label="x")],
        NOTES,
    )
    assert sorted(row["label"] for row in found.kept) == ["x", "y"]
    assert [row["kind"] for row in found.duplicates] == ["exact"]


def test_an_example_without_its_label_is_rejected() -> None:
    assert ingest([record("a text")], NOTES).ledger["reasons"] == {"no_label": 1}
    assert ingest([record("a text")], ENTITIES).ledger["reasons"] == {"no_spans": 1}


def test_spans_outside_the_text_or_over_each_other_are_rejected() -> None:
    def spans(*edges: tuple[int, int]) -> list[Record]:
        return [{"start": start, "end": end, "label": "X"} for start, end in edges]

    found = ingest(
        [
            record("a text", spans=spans((0, 9))),
            record("b text", spans=spans((0, 4), (2, 6))),
            record("c  text", spans=spans((3, 7), (0, 1))),
        ],
        ENTITIES,
    )
    assert found.ledger["reasons"] == {"bad_spans": 2}
    assert [(s["start"], s["end"]) for s in found.kept[0]["spans"]] == [(0, 1), (2, 6)]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [record(f"some text number {'abc'[n % 3] * (n % 5)}", "s", str(n)) for n in range(40)]
    for name in ("one", "two"):
        save(ingest(rows, CORPUS), "documents", tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    kept = [row["id"] for row in read_rows(tmp_path / "one" / "documents.parquet")]
    assert kept == sorted(kept)


def test_masked_data_is_counted() -> None:
    found = ingest([record("write to me@example.org today")], CORPUS)
    assert found.kept[0]["text"] == "write to <EMAIL> today"
    assert found.ledger["masked"] == {"EMAIL": 1}


def test_a_reader_that_finds_nothing_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(StepError, match=r"reader 'rst' found nothing to read .*\(1 \.csv\)"):
        read("rst", "documents", tmp_path)


def test_a_reader_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="gives documents, not tokens"):
        read("rst", "tokens", tmp_path)


def test_bad_lines_are_counted_not_lost(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "a fine text", "label": "x"}), "{no json", '{"label": "x"}']
    (tmp_path / "notes.jsonl").write_text("\n".join(lines))
    found = ingest(read("jsonl", "classification", tmp_path), NOTES)
    assert found.ledger["reasons"] == {"no_text": 1, "not_json": 1}
    assert found.ledger["kept"] == 1
