"""`outplant compare`: anyone's files, any metric, known answers, and mistakes in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.comparison import compare, sentences
from steps.core.entry import StepError
from steps.judge.libraries import library_score

LABELS = ("doc", "fix", "new")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """500 references; b is right where a is, and on 40 items more; three seeds a side."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [
        {"id": f"n{i}", "label": str(draw.choice(LABELS)), "region": "eu" if i % 4 else "us"}
        for i in range(500)
    ]
    write("refs.jsonl", rows)
    for side, right in (("a", 300), ("b", 340)):
        for seed in (1, 2, 3):
            wrong = [row | {"label": other(row["label"])} for row in rows]
            said = rows[: right + seed] + wrong[right + seed :]
            draw.shuffle(said)  # type: ignore[arg-type]
            write(f"{side}{seed}.jsonl", [{"id": r["id"], "prediction": r["label"]} for r in said])
    return tmp_path


def other(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % 3]


def write(name: str, rows: list[dict[str, Any]]) -> Path:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path(name)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["compare", *arguments])


def test_what_is_better_on_every_seed_is_promoted_with_exit_status_0(room: Path) -> None:
    done = run("refs.jsonl", "a*.jsonl", "b1.jsonl,b2.jsonl,b3.jsonl", "--metric", "accuracy")
    assert done.exit_code == 0, done.output
    assert "B against A: +0.080, 95% interval" in done.output
    assert "right in B alone 40, in A alone 0: exact McNemar p < 0.001" in done.output
    assert done.output.splitlines()[-1] == "verdict: promote"


def test_exit_status_is_3_where_it_is_worse_and_4_where_nothing_is_shown(room: Path) -> None:
    assert run("refs.jsonl", "b*.jsonl", "a*.jsonl", "--metric", "accuracy").exit_code == 3
    same = run("refs.jsonl", "a1.jsonl", "a1.jsonl", "--metric", "macro_f1")
    assert same.exit_code == 4
    assert "the scores are the same item by item" in same.output
    near = run("refs.jsonl", "a1.jsonl", "a2.jsonl", "--metric", "accuracy")
    assert near.exit_code == 4
    assert "items would settle a difference like this" in near.output


def test_json_has_all_of_it(room: Path) -> None:
    done = run("refs.jsonl", "a1.jsonl", "b1.jsonl", "--metric", "macro_f1", "--json")
    found = json.loads(done.stdout)
    assert found["verdict"] == "promote"
    assert found["difference"] == pytest.approx(found["b"]["mean"] - found["a"]["mean"], abs=2e-6)
    assert {"low", "high", "p", "probability_better", "detectable", "items_needed"} <= found.keys()
    assert found["b"]["seeds"] == 1


def test_a_slice_that_is_shown_worse_refuses_what_is_better_on_the_whole(room: Path) -> None:
    rows = [json.loads(line) for line in Path("refs.jsonl").read_text().splitlines()]
    a = [r["label"] if i % 4 == 0 or i < 250 else other(r["label"]) for i, r in enumerate(rows)]
    b = [other(r["label"]) if i % 4 == 0 else r["label"] for i, r in enumerate(rows)]
    for name, said in (("x.jsonl", a), ("y.jsonl", b)):
        write(name, [{"id": r["id"], "label": s} for r, s in zip(rows, said, strict=True)])
    whole = compare(Path("refs.jsonl"), "x.jsonl", "y.jsonl", "accuracy")
    parts = compare(Path("refs.jsonl"), "x.jsonl", "y.jsonl", "accuracy", "region")
    assert (whole.verdict, parts.verdict) == ("promote", "refuse")
    assert {row["slice"]: row["verdict"] for row in parts.slices} == {
        "eu": "promote",
        "us": "refuse",
    }
    assert "shown worse on: us" in sentences(parts)


def test_csv_and_parquet_are_read_as_json_lines_are(room: Path) -> None:
    rows = [json.loads(line) for line in Path("b1.jsonl").read_text().splitlines()]
    lines = ["id,prediction", *(f"{row['id']},{row['prediction']}" for row in rows)]
    Path("b.csv").write_text("\n".join(lines) + "\n")
    pq.write_table(pa.Table.from_pylist(rows), "b.parquet")
    found = [
        compare(Path("refs.jsonl"), "a1.jsonl", name, "accuracy").as_json()
        for name in ("b1.jsonl", "b.csv", "b.parquet")
    ]
    assert found[0] == found[1] == found[2]


TEXT = "Call Model.save now"
KINDS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], list[Any]]] = {
    # metric -> references, predictions, and these as values for the metric's library
    "span_f1": (
        [{"text": TEXT, "spans": [[5, 15, "FUNC"]]}, {"text": TEXT, "spans": []}],
        [{"entities": [{"start": 5, "end": 15, "label": "FUNC"}]}, {"entities": []}],
        [[[5, 15, "FUNC"]], []],
    ),
    "mae": (
        [{"score": 1.0}, {"score": 3.0}],
        [{"prediction": 1.5}, {"prediction": "2"}],
        [1.5, 2.0],
    ),
    "answer_f1": (
        [{"answers": [{"start": 0, "text": "a cat"}]}, {"answers": []}],
        [{"answer": "cat"}, {"answer": ""}],
        ["cat", ""],
    ),
    "bleu": (
        [{"target": "the cat sat on the mat"}, {"target": "one two three four"}],
        [{"translation": "the cat sat on a mat"}, {"translation": "one two three five"}],
        ["the cat sat on a mat", "one two three five"],
    ),
    "mrr": (
        [{"id": "q1"}, {"id": "q2"}],
        [{"id": "q2", "rank": 2}, {"id": "q1", "rank": 1}],
        [1, 2],
    ),
    "micro_f1": (
        [{"labels": ["a", "b"]}, {"labels": []}],
        [{"labels": ["a"]}, {"labels": ["b"]}],
        [["a"], ["b"]],
    ),
}


@pytest.mark.parametrize("metric", KINDS)
def test_every_kind_of_metric_is_scored_as_by_its_library(metric: str, room: Path) -> None:
    references, predictions, values = KINDS[metric]
    write("truth.jsonl", references)
    write("said.jsonl", predictions)
    found = compare(Path("truth.jsonl"), "said.jsonl", "said.jsonl", metric)
    truth = [
        row.get("spans", row.get("score", row.get("target", row.get("labels", ""))))
        for row in references
    ]
    if metric == "answer_f1":
        truth = [[answer["text"] for answer in row["answers"]] for row in references]
    assert found.scores[0].value == pytest.approx(library_score(metric, truth, values))
    assert found.verdict == "inconclusive"


def test_items_that_are_missing_or_foreign_are_refused_by_id(room: Path) -> None:
    rows = [json.loads(line) for line in Path("b1.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["id"] != "n17"]
    write("less.jsonl", kept)
    write("other.jsonl", [*kept, {"id": "m1", "prediction": "doc"}])
    write("twice.jsonl", [*rows, rows[0]])
    for name, said in (
        ("less.jsonl", r"1 of 500 items of refs.jsonl lack a prediction, 0 .* \(such as n17\)"),
        ("other.jsonl", r"1 of 500 .* 1 predictions are of other items \(such as n17\)"),
        ("twice.jsonl", rf"id '{rows[0]['id']}' is of rows 1 and 501"),
    ):
        with pytest.raises(StepError, match=said):
            compare(Path("refs.jsonl"), "a1.jsonl", name, "accuracy")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("refs.jsonl", "a1.jsonl", "no.jsonl", "--metric", "accuracy"), "no file of predictions"),
        (("refs.jsonl", "a1.jsonl", "b1.jsonl", "--metric", "f1"), "no metric 'f1'"),
        (("refs.jsonl", "a1.jsonl", "b1.jsonl", "--metric", "bleu"), "no field 'target' for bleu"),
        (("refs.jsonl", "a1.jsonl", "bad.jsonl", "--metric", "accuracy"), "line 1 is 'not json'"),
        (("refs.jsonl", "a1.jsonl", "refs.jsonl", "--metric", "accuracy", "--slices", "town"),
         "no column 'town' for slices"),
        (("refs.jsonl", "empty.jsonl", "a1.jsonl", "--metric", "accuracy"), "found no rows"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments: tuple[str, ...], said: str, room: Path) -> None:
    Path("bad.jsonl").write_text("not json\n")
    Path("empty.jsonl").write_text("")
    done = run(*arguments)
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_rows_without_ids_are_taken_in_order_and_must_be_as_many(room: Path) -> None:
    write("r.jsonl", [{"label": "doc"}, {"label": "fix"}])
    write("p.jsonl", [{"label": "doc"}, {"label": "doc"}])
    assert compare(Path("r.jsonl"), "p.jsonl", "p.jsonl", "accuracy").scores[0].value == 0.5
    write("q.jsonl", [{"label": "doc"}])
    with pytest.raises(StepError, match=r"has 1 rows and r\.jsonl 2"):
        compare(Path("r.jsonl"), "p.jsonl", "q.jsonl", "accuracy")


@pytest.mark.parametrize(
    ("metric", "rows", "said"),
    [
        ("perplexity", [{"text": "a"}], "prediction 1 has no `loss` and `words`"),
        ("perplexity", [{"text": "a", "loss": "x", "words": 1}], "loss is 'x'; expected a number"),
        ("mrr", [{"rank": 1}, {}], "row 2: rank is None; expected what the rows before it"),
        ("mrr", [{"rank": 1}, {"rank": 0}], "row 2: rank is 0; expected a rank, 1 for the first"),
    ],
)  # fmt: skip
def test_a_prediction_that_lacks_what_its_metric_takes_is_one_line(
    metric: str, rows: list[dict[str, Any]], said: str, room: Path
) -> None:
    write("truth.jsonl", [{"target": "a"}] * len(rows))
    write("said.jsonl", rows)
    done = run("truth.jsonl", "said.jsonl", "said.jsonl", "--metric", metric)
    assert done.exit_code == 1, done.output
    assert said in done.stderr
