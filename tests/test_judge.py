"""Every task type goes through the judge, from saved predictions to the report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import facts
from pipelines.facts import Side
from pipelines.gate import decide
from pipelines.versions import Version
from steps.compare import compare, left_out, read_candidates, verify
from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.core.params import Judge, Recipe, load
from steps.judge.contest import PARTS, Contest
from steps.judge.load import read_references
from steps.judge.metrics import METRICS, metric_for
from steps.judge.mistakes import MIXED, errors, mistakes
from steps.judge.report import Evidence, render
from steps.judge.slices import check_kind, slice_values
from steps.judge.values import REFERENCES
from steps.tasks import task_type
from tests.pages import assert_whole
from tests.rivals import SEEDS, Rivals
from tests.tiny import EXAMPLES

RECIPES = {
    "baseline": Recipe(strategy="baseline", start="base"),
    "full": Recipe(strategy="full", start="base"),
    "more": Recipe(strategy="full", start="base", without="full"),
}
SKILLS = {"baseline": 0.1, "full": 0.5, "more": 0.8}
QUICK = Judge(resamples=200, confidence=0.95, min_slice=20, seed=3)
KINDS = [(kind, name) for name, metric in METRICS.items() for kind in metric.types]


def play(room: Path, kind: str, skills: dict[str, float] = SKILLS) -> Path:
    rivals = Rivals(room, kind, items=60)
    for name, skill in skills.items():
        rivals.add(name, skill)
    return room


def contest(room: Path, kind: str, metric: str, recipes: dict[str, Recipe] = RECIPES) -> Contest:
    references = {part: read_references(room / "data/splits/toy", part) for part in PARTS}
    known = read_candidates("toy", recipes, room / "predictions/toy", room / "metrics")
    left = left_out(recipes, room / "predictions/toy")
    return Contest("toy", metric_for(metric, kind), references, known, "baseline", QUICK, left)


def first_metric(kind: str) -> str:
    return next(name for known, name in KINDS if known == kind)


def page(held: Contest) -> str:
    evidence = Evidence(held, {"train": 300, "test": 60}, [], 10)
    return render(judged(held) | mistakes(held, 20), evidence)


def judged(held: Contest) -> dict[str, Any]:
    return compare(held, RECIPES, {}, ["source", "language"])


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def room(kind: str) -> Path:
        return made.get(kind) or made.setdefault(kind, play(tmp_path_factory.mktemp(kind), kind))

    return room


def test_every_type_has_its_metrics() -> None:
    assert {kind for kind, _ in KINDS} == REFERENCES.keys()


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_judge_reads_the_reference_that_the_task_type_has(kind: str) -> None:
    for example in EXAMPLES[kind](8):
        ours, theirs = REFERENCES[kind](example), task_type(kind).reference(example)
        assert json.loads(json.dumps(ours)) == json.loads(json.dumps(theirs))


@pytest.mark.parametrize(("kind", "metric"), KINDS)
def test_the_better_candidate_wins_whichever_way_a_metric_points(
    rooms: Callable[[str], Path], kind: str, metric: str
) -> None:
    held = contest(rooms(kind), kind, metric)
    found = judged(held)
    assert found["ranking"] == ["more", "full", "baseline"]
    assert found["verdict"]["verdict"] == "promote"
    assert found["verdict"]["low"] > 0
    scores = {name: one["test"]["mean"] for name, one in found["candidates"].items()}
    assert (scores["more"] > scores["baseline"]) == (METRICS[metric].better > 0)
    assert found["candidates"]["more"]["test"]["seeds"][str(found["seed"])] is not None
    assert {row["slice"] for row in found["slices"] if row["kind"] == "language"} == {"unknown"}
    json.dumps(found, allow_nan=False)
    verify(held)


@pytest.mark.parametrize("kind", sorted(REFERENCES))
def test_errors_of_any_type_are_shown_with_what_was_read(
    rooms: Callable[[str], Path], kind: str
) -> None:
    held = contest(rooms(kind), kind, first_metric(kind))
    found = errors(held, 5)
    assert 0 < len(found) <= 5
    assert all(row["reference"] != row["prediction"] for row in found if kind in MIXED)
    fields = {"pairs": ["text", "pair"], "question_answering": ["question", "text"]}
    assert {tuple(name for name, _ in row["inputs"]) for row in found} == {
        tuple(fields.get(kind, ["text"]))
    }


@pytest.mark.parametrize("kind", ["question_answering", "regression", "tags"])
def test_the_report_of_another_type_is_whole(rooms: Callable[[str], Path], kind: str) -> None:
    """Those of classification and tokens are looked at by test_report."""
    html = page(contest(rooms(kind), kind, first_metric(kind)))
    assert_whole(html)
    assert "<select>" not in html
    assert ('aria-label="calibration' in html) == (kind in MIXED)
    assert ("no answers that are simply right or wrong" in html) == (kind not in MIXED)


def test_of_a_loss_the_report_says_that_less_is_better(rooms: Callable[[str], Path]) -> None:
    held = contest(rooms("generation"), "generation", "perplexity")
    found = judged(held)
    assert "on test (lower is better; 95% interval" in found["headline"]
    assert "the baseline (a gain of +" in found["headline"]
    assert found["verdict"]["difference"] > 0
    html = page(held)
    assert "Differences are turned" in html
    assert "perplexity (lower is better)" in html
    assert "shown better than the baseline" in found["headline"]


def test_the_worst_items_come_first_and_no_text_twice(rooms: Callable[[str], Path]) -> None:
    for kind, metric, shown in [
        ("regression", "pearson", "mean absolute error"),
        ("translation", "bleu", "chrF"),
        ("retrieval", "recall_at_5", "MRR"),
        ("generation", "perplexity", "perplexity"),
    ]:
        found = errors(contest(rooms(kind), kind, metric), 20)
        assert {row["title"] for row in found} == {shown}
        turned = [
            row["score"] * (-1 if shown in ("perplexity", "mean absolute error") else 1)
            for row in found
        ]
        assert turned == sorted(turned)
        assert len({row["inputs"][0][1] for row in found}) == len(found)


def test_an_addition_is_held_against_the_same_recipe_without_it(
    rooms: Callable[[str], Path],
) -> None:
    held = contest(rooms("sentiment"), "sentiment", "accuracy")
    found = judged(held)
    (entry,) = found["ablations"]
    assert (entry["recipe"], entry["without"], entry["verdict"]) == ("more", "full", "promote")
    means = [found["candidates"][name]["test"]["mean"] for name in ("more", "full")]
    assert entry["difference"] == pytest.approx(means[0] - means[1], abs=2e-6)
    plain = {name: RECIPES[name] for name in ("baseline", "full")}
    assert compare(held, plain, {}, [])["ablations"] == []
    wrong = RECIPES | {"more": Recipe(strategy="full", start="base", without="fill")}
    with pytest.raises(StepError, match=r"recipes\.more\.without.*did you mean 'full'"):
        compare(held, wrong, {}, [])


def test_the_gate_knows_which_way_a_metric_points(
    rooms: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = rooms("generation")
    found = judged(contest(room, "generation", "perplexity"))
    for name in ("more", "full"):
        write_json(room / "predictions/toy" / name / "comparison.json", found)
        write_json(room / "predictions/toy" / name / "validation.json", {"success": True})
    params = load()
    task = params.tasks["changes"].model_copy(update={"metric": "perplexity"})
    params = params.model_copy(update={"tasks": {"toy": task}, "judge": QUICK})
    monkeypatch.setattr(facts, "SPLITS", room / "data/splits")
    monkeypatch.setattr(facts, "PREDICTIONS", room / "predictions")
    fields = dict.fromkeys(Version.__dataclass_fields__, "") | {"task": "toy", "seed": 1}
    version = Version(**fields | {"recipe": "more", "number": 2})
    sides = [Side(version, room, room / "predictions/toy" / name) for name in ("more", "full")]
    known = facts.gather(params, *sides)
    assert known.better == -1
    assert known.score == pytest.approx(found["candidates"]["more"]["test"]["mean"], abs=1e-6)
    assert known.champion.difference > 0
    assert known.slices["source Library-2.0"].difference > 0
    gate = params.gate.model_copy(
        update={"minimum": {"toy": known.score + 1}, "clean_source": False, "max_latency_ms": None}
    )
    clauses = {clause.name: clause for clause in decide(gate, known).clauses}
    assert clauses["maximum metric"].passed
    assert clauses["baseline"].passed
    assert clauses["slices"].passed


def leave_out(room: Path, name: str) -> Path:
    folder = room / "predictions/toy" / name
    (folder / "predictions.parquet").unlink()
    write_json(folder / "candidate.json", {"left_out": "it tags words, and this has none"})
    (room / f"metrics/finetune/toy/{name}.json").unlink()
    return room


def test_a_recipe_that_is_not_for_a_task_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    room = leave_out(play(tmp_path, "sentiment"), "full")
    held = contest(room, "sentiment", "accuracy")
    found = judged(held)
    assert found["ranking"] == ["more", "baseline"]
    assert found["left_out"] == {"full": "it tags words, and this has none"}
    assert found["ablations"] == []


def test_a_baseline_that_is_left_out_is_refused_with_the_reason(tmp_path: Path) -> None:
    room = leave_out(play(tmp_path, "sentiment"), "baseline")
    with pytest.raises(StepError, match=r"gate.baseline 'baseline' is left out .*it tags words"):
        contest(room, "sentiment", "accuracy")


CONSTANT = {
    "sentiment": "good",
    "multilabel": [],
    "regression": 0.0,
    "tokens": [],
    "question_answering": "",
    "translation": "the",
    "generation": {"text": "the", "loss": 3.0, "words": 2},
}


def say(room: Path, seed: int, value: Callable[[dict[str, Any]], Any]) -> None:
    """Let one seed of `more` predict something else."""
    file = room / "predictions/toy/more/predictions.parquet"
    table = pq.read_table(file)
    rows = [
        row | {"prediction": json.dumps(value(row))} if row["seed"] == seed else row
        for row in table.to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_seed_that_says_one_thing_is_named_and_kept(tmp_path: Path, kind: str) -> None:
    room = play(tmp_path, kind)
    say(room, 2, lambda row: CONSTANT[kind])
    held = contest(room, kind, first_metric(kind))
    one = judged(held)["candidates"]["more"]
    assert one["degenerate_seeds"] == [2]
    assert set(one["test"]["seeds"]) == {str(seed) for seed in SEEDS}


def test_the_report_names_what_is_left_out_what_is_added_and_seeds_that_learnt_nothing(
    tmp_path: Path,
) -> None:
    room = leave_out(play(tmp_path, "multilabel", SKILLS | {"other": 0.1}), "other")
    say(room, 2, lambda row: [])
    html = page(contest(room, "multilabel", "micro_f1", RECIPES | {"other": RECIPES["full"]}))
    assert_whole(html)
    assert "more says one thing of every test item</strong> by seed 2 of 3" in html
    assert "other is left out</strong>: it tags words" in html
    assert "Do additions pay?" in html


def test_one_tag_for_all_words_is_one_thing_and_rank_one_for_all_is_not(tmp_path: Path) -> None:
    room = play(tmp_path / "tags", "tags")
    say(room, 1, lambda row: [[0, len(row["id"]), "good"]])
    assert judged(contest(room, "tags", "tag_accuracy"))["candidates"]["more"][
        "degenerate_seeds"
    ] == [1]
    room = play(tmp_path / "ranks", "retrieval")
    say(room, 1, lambda row: 1)
    assert judged(contest(room, "retrieval", "mrr"))["candidates"]["more"]["degenerate_seeds"] == []


def test_a_label_slice_is_for_tasks_with_labels() -> None:
    assert slice_values({"label": "x"}, "label") == "x"
    assert slice_values({"language": "de"}, "language") == "de"
    with pytest.raises(StepError, match="take source, length or language"):
        slice_values({"labels": ["x"]}, "label")


def test_a_slice_that_a_type_does_not_have_is_refused_before_a_run() -> None:
    for kind, task in [("label", "pairs"), ("language", "tokens")]:
        check_kind(kind, task, "tasks.toy.slices")
    with pytest.raises(
        StepError, match=r"tasks\.toy\.slices: label is .*for multilabel take source"
    ):
        check_kind("label", "multilabel", "tasks.toy.slices")
    with pytest.raises(StepError, match="did you mean 'length'"):
        check_kind("lenght", "pairs", "tasks.toy.slices")


def test_a_type_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    room = play(tmp_path, "sentiment")
    about = room / "data/splits/toy/task.json"
    write_json(about, read_json(about) | {"type": "sentimant"})
    with pytest.raises(StepError, match="did you mean 'sentiment'"):
        read_references(room / "data/splits/toy", "test")


def test_a_twin_may_say_what_it_is_without_and_another_candidate_is_no_base(
    rooms: Callable[[str], Path],
) -> None:
    held = contest(rooms("sentiment"), "sentiment", "accuracy")
    recipes = {
        "baseline": RECIPES["baseline"],
        "full": Recipe(strategy="full", start="candidates/nli/full"),
        "more": Recipe(strategy="full", start="models/dapt", without="full"),
    }
    assert compare(held, recipes, {}, [])["adaptation"] == []
    recipes["full"] = Recipe(strategy="full", start="base")
    (entry,) = compare(held, recipes, {}, [])["adaptation"]
    assert (entry["from"], entry["to"]) == ("full", "more")


def test_a_loss_is_turned_in_what_is_said_of_an_adaptation(rooms: Callable[[str], Path]) -> None:
    held = contest(rooms("generation"), "generation", "perplexity")
    recipes = RECIPES | {"more": Recipe(strategy="full", start="models/dapt")}
    (entry,) = compare(held, recipes, {}, [])["adaptation"]
    assert entry["difference"] > 0
    assert "perplexity (lower is better; + is a gain)" in entry["sentence"]
    other = replace(held, metric=METRICS["rouge_l"])
    (entry,) = compare(other, recipes, {}, [])["adaptation"]
    assert "+ is a gain" not in entry["sentence"]
