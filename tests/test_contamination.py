"""Where training has some of the test items, the clean ones are judged apart."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import facts
from pipelines.facts import Side
from pipelines.gate import Facts, decide
from pipelines.versions import Version
from steps.compare import compare, read_candidates
from steps.core.files import write_json
from steps.core.params import GateParams, Recipe, load
from steps.judge.contest import PARTS, Contest
from steps.judge.load import read_references
from steps.judge.metrics import metric_for
from steps.judge.mistakes import mistakes
from steps.judge.report import Evidence, render
from steps.judge.slices import halves, kinds_for
from tests.rivals import JUDGE, Rivals

RECIPES = {name: Recipe(strategy=name, start="base") for name in ("baseline", "full")}
GATE = GateParams(
    baseline="baseline",
    minimum={"toy": 0.1},
    slice_margin=0.5,
    int8_margin=0.0,
    max_ece=None,
    max_latency_ms=None,
    max_megabytes=None,
    max_leakage=None,
    clean_source=False,
    inconclusive="keep",
)


def play(room: Path, contaminated: int, right: int) -> Path:
    """Of 200 test items the first so many are contaminated; `full` knows the first `right`."""
    rivals = Rivals(room, "classification", items=200)
    rivals.add("baseline", 0.3, "baseline")
    rivals.add("full", 0.3)
    rewrite(room / "data/splits/toy/test.parquet", contaminated=lambda at, _: at < contaminated)
    labels = {row["id"]: row["label"] for row in rivals.rows["test"]}

    def said(_: int, row: dict[str, Any]) -> str:
        known = row["split"] == "test" and int(row["id"][-5:]) < right
        return f'"{labels[row["id"]]}"' if known else row["prediction"]

    rewrite(room / "predictions/toy/full/predictions.parquet", prediction=said)
    # the validation part decides who wins
    truth = {row["id"]: row["label"] for row in rivals.rows["validation"]}
    rewrite(
        room / "predictions/toy/full/predictions.parquet",
        prediction=lambda _, r: f'"{truth[r["id"]]}"' if r["id"] in truth else r["prediction"],
    )
    return room


def rewrite(path: Path, **columns: Any) -> None:
    rows = pq.read_table(path).to_pylist()
    changed = [
        row | {name: made(at, row) for name, made in columns.items()} for at, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(changed), path)


def judged(room: Path) -> tuple[Contest, dict[str, Any]]:
    references = {part: read_references(room / "data/splits/toy", part) for part in PARTS}
    known = read_candidates("toy", RECIPES, room / "predictions/toy", room / "metrics")
    metric = metric_for("macro_f1", "classification")
    contest = Contest("toy", metric, references, known, "baseline", JUDGE)
    return contest, compare(contest, RECIPES, {}, ["source"])


def test_without_contamination_nothing_is_told_apart(tmp_path: Path) -> None:
    contest, found = judged(play(tmp_path, contaminated=0, right=100))
    assert found["contamination"] is None
    assert {row["kind"] for row in found["slices"]} == {"source"}
    assert "Training has" not in found["headline"]
    assert halves(contest.references["test"].examples) == {}


def test_a_gain_by_contaminated_items_alone_is_not_shown_on_the_clean_ones(tmp_path: Path) -> None:
    contest, found = judged(play(tmp_path, contaminated=100, right=100))
    assert found["winner"] == "full"
    assert found["verdict"]["verdict"] == "promote"
    both = found["contamination"]
    assert (both["clean"]["items"], both["contaminated"]["items"]) == (100, 100)
    assert (both["clean"]["verdict"], both["contaminated"]["verdict"]) == (
        "inconclusive",
        "promote",
    )
    said = (
        "Training has 100 of the 200 test items; on the 100 clean ones alone it is not shown better"
    )
    assert said in found["headline"]
    rows = {row["slice"]: row for row in found["slices"] if row["kind"] == "contamination"}
    assert set(rows) == {"clean", "contaminated"}
    assert rows["clean"]["difference"] == both["clean"]["difference"]
    assert "contamination" in found["candidates"]["full"]["slices"]
    levels = {
        "test": dict(zip(("exact", "normalised", "contained", "near"), (7, 8, 9, 100), strict=True))
    }
    page = render(found | mistakes(contest, 20), Evidence(contest, {}, [], 10, levels))
    assert "on clean test items alone" in page
    assert "contamination: clean (100)" in page
    assert "Held-out examples that training has" in page


def test_a_gain_on_clean_items_is_shown(tmp_path: Path) -> None:
    _, found = judged(play(tmp_path, contaminated=50, right=200))
    assert found["contamination"]["clean"]["verdict"] == "promote"
    assert "on the 150 clean ones alone it is shown better" in found["headline"]


@pytest.mark.parametrize(("contaminated", "clean"), [(200, None), (190, "inconclusive")])
def test_too_few_clean_items_show_nothing(tmp_path: Path, contaminated: int, clean: str) -> None:
    _, found = judged(play(tmp_path, contaminated=contaminated, right=200))
    half = found["contamination"]["clean"]
    assert (half and half["verdict"]) == clean


def test_the_kind_is_added_once() -> None:
    some = [{"contaminated": True}, {"contaminated": False}]
    assert kinds_for(some, ["source"]) == ["source", "contamination"]
    assert kinds_for(some, ["contamination"]) == ["contamination"]
    assert kinds_for([{}], ["source"]) == ["source"]


def side(room: Path, found: dict[str, Any]) -> Side:
    evidence = room / "predictions/toy/full"
    write_json(evidence / "comparison.json", found)
    write_json(evidence / "validation.json", {"success": True})
    fields = dict.fromkeys(Version.__dataclass_fields__, "") | {"task": "toy", "recipe": "full"}
    return Side(Version(**(fields | {"number": 1, "seed": 1})), room, evidence)


@pytest.mark.parametrize(
    ("contaminated", "right", "verdict"),
    [
        (0, 100, "promote"),
        (100, 100, "inconclusive"),
        (50, 200, "promote"),
        (190, 200, "inconclusive"),
    ],
)
def test_the_gate_promotes_only_what_holds_on_the_clean_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contaminated: int, right: int, verdict: str
) -> None:
    room = play(tmp_path, contaminated, right)
    _, found = judged(room)
    params = load()
    toy = params.tasks["changes"]
    params = params.model_copy(update={"tasks": {"toy": toy}, "judge": JUDGE})
    monkeypatch.setattr(facts, "SPLITS", room / "data/splits")
    monkeypatch.setattr(facts, "PREDICTIONS", room / "predictions")
    known = facts.gather(params, side(room, found), None)
    assert decide(GATE, known).verdict == verdict
    assert isinstance(known.clean, Facts) == (0 < contaminated < 190)


def test_a_champion_is_met_on_the_clean_items_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = play(tmp_path, contaminated=100, right=100)
    _, found = judged(room)
    challenger = side(room, found)
    champion = Side(challenger.version, room, room / "predictions/toy/baseline")
    params = load()
    params = params.model_copy(update={"tasks": {"toy": params.tasks["changes"]}, "judge": JUDGE})
    monkeypatch.setattr(facts, "SPLITS", room / "data/splits")
    monkeypatch.setattr(facts, "PREDICTIONS", room / "predictions")
    known = facts.gather(params, challenger, champion)
    assert known.champion.verdict == "promote"
    assert known.clean.champion.verdict == "inconclusive"
    assert {"contamination clean", "contamination contaminated"} <= known.slices.keys()
    assert known.baseline.verdict == "promote"
    assert known.clean.baseline.verdict == "inconclusive"
    monkeypatch.setattr(facts, "PREDICTIONS", room / "elsewhere")
    known = facts.gather(params, challenger, champion)
    assert known.baseline == known.clean.baseline
    assert "nowhere its predictions of the 200 test items; run `dvc repro`" in known.baseline
    assert known.leakage == 0.5
