"""Calibration that is mended: temperatures found on validation, Brier scores, what a user is told,
and how long a user waits."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.candidates import metrics
from steps import evaluate as stage
from steps.bundle import main as bundle
from steps.core.files import read_json, read_rows
from steps.core.temperature import scaled
from steps.judge.calibration import (
    Sureness,
    calibration,
    confidences,
    pooled,
    scaled_confidences,
    sureness,
    temperature,
)
from steps.judge.load import read_predictions
from steps.tasks import Prediction, task_type
from steps.transfer.checkpoints import Predictor, load_candidate, load_predictor
from steps.transfer.strategies import Reading
from tests import tiny_project
from tests.tiny import EXAMPLES
from tests.tiny_project import STRONG, TASK, WEAK

CLASSES = ["a", "b", "c"]
SCALED = ("classification", "sentiment", "pairs", "multilabel")  # types with probabilities
Array = np.ndarray[Any, Any]


def softmax(logits: Array) -> Array:
    return scaled(np.exp(logits - logits.max(axis=1, keepdims=True)), 1.0)


def drawn(count: int, too_sure: float, seed: int = 0) -> Sureness:
    """Predictions of one label whose logits are so many times too large."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 2, (count, len(CLASSES)))
    shares = softmax(logits)
    truth = [CLASSES[draw.choice(len(CLASSES), p=row)] for row in shares]
    return told("classification", truth, softmax(too_sure * logits))


def drawn_labels(count: int, too_sure: float) -> Sureness:
    draw = np.random.default_rng(1)
    logits = draw.normal(0, 1.5, (count, len(CLASSES)))
    shares = 1 / (1 + np.exp(-logits))
    truth = [[CLASSES[k] for k in np.flatnonzero(draw.random(3) < row)] for row in shares]
    return told("multilabel", truth, 1 / (1 + np.exp(-too_sure * logits)))


def told(kind: str, references: list[Any], shares: Array) -> Sureness:
    said = task_type(kind).decode([{}] * len(shares), list(shares[:, None]), CLASSES)
    return sureness(kind, CLASSES, [""] * len(shares), references, said)


def test_a_temperature_divides_logits() -> None:
    assert scaled(np.array([0.8, 0.2]), 2.0) == pytest.approx([2 / 3, 1 / 3])
    assert scaled(np.array([0.8, 0.5, 0.0]), 2.0, each=True) == pytest.approx(
        [2 / 3, 0.5, 0], abs=1e-5
    )
    assert scaled(np.array([[1.0, 0.0]]), 1.0)[0] == pytest.approx([1, 0])
    logits = np.random.default_rng(0).normal(0, 3, (20, 4))
    assert scaled(softmax(logits), 2.5) == pytest.approx(softmax(logits / 2.5))


def test_brier_is_of_all_classes_where_they_have_probabilities() -> None:
    one = told("classification", ["a", "c"], np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]))
    assert one.brier == pytest.approx(((0.09 + 0.04 + 0.01) + (0.04 + 0.25 + 0.49)) / 2)
    many = told("multilabel", [["a"]], np.array([[0.6, 0.8, 0.0]]))
    assert many.brier == pytest.approx((0.16 + 0.64 + 0) / 3, abs=1e-6)
    worst = told("classification", ["a"], np.array([[0.0, 1.0, 0.0]]))
    assert worst.brier == 2


def test_brier_of_others_is_of_the_confidence_and_none_where_nothing_is_right() -> None:
    spans = [[0, 4, "VERB"], [5, 8, "NOUN"]]
    said = [Prediction([spans[0], [5, 8, "ADV"]], 0.9, {})]
    tags = sureness("tags", ["VERB"], ["Call now"], [spans], said)
    assert (tags.brier, tags.calibration(10)["ece"]) == (pytest.approx(0.16), pytest.approx(0.4))
    assert (temperature(tags, 10), tags.scaled(3.0)) == (None, tags)
    number = sureness("regression", ["score"], ["x"], [0.5], [Prediction(0.4, 1.0, {})])
    assert (number.brier, number.calibration(10)) == (None, {"ece": None, "curve": []})


@pytest.mark.parametrize("held_out", [drawn(3000, 3.0), drawn_labels(3000, 3.0)])
def test_a_candidate_that_is_too_sure_is_cooled_to_what_it_is_right(held_out: Sureness) -> None:
    found = temperature(held_out, 10)
    assert found == pytest.approx(3, rel=0.1)
    cooled = held_out.scaled(found)
    assert cooled.calibration(10)["ece"] < 0.2 * held_out.calibration(10)["ece"]
    assert cooled.brier < held_out.brier
    assert (cooled.right == held_out.right).all()


def test_where_scaling_makes_the_error_no_smaller_nothing_is_scaled() -> None:
    """Right in 0.6 of the cases where it says 0.6, and always where it is surer."""
    shares = np.array([[0.6, 0.4, 0.0]] * 10 + [[1.0, 0.0, 0.0]] * 10)
    exact = told("classification", ["a"] * 6 + ["b"] * 4 + ["a"] * 10, shares)
    assert exact.calibration(10)["ece"] == 0
    assert temperature(exact, 10) == 1
    assert exact.scaled(1.0) is exact


def test_a_few_that_are_all_right_make_no_candidate_sure_of_everything() -> None:
    few = told("classification", ["a"] * 5, np.array([[0.8, 0.1, 0.1]] * 5))
    found = temperature(few, 10)
    assert few.scaled(found).sure.max() < 0.95


def test_seeds_are_pooled_each_at_its_own_temperature() -> None:
    seeds = [drawn(200, 3.0, seed=1), drawn(200, 0.5, seed=2)]
    by = [temperature(one, 10) for one in seeds]
    both = pooled([one.scaled(at) for one, at in zip(seeds, by, strict=True)])
    shares = np.array([one.shares for one in seeds])
    assert scaled_confidences("classification", shares, by).ravel() == pytest.approx(both.sure)
    raw = scaled_confidences("classification", shares, [1.0, 1.0])
    assert (raw.ravel() == pooled(seeds).sure).all()


def predictor(kind: str, raws: Array, at: float) -> Predictor:
    def scorer(reading: Reading, items: list[Any]) -> list[Array]:
        return list(raws[:, None])

    return Predictor(task_type(kind), CLASSES, scorer, temperature=at)


def asked(kind: str, count: int) -> list[dict[str, str]]:
    return [dict.fromkeys(task_type(kind).INPUTS, "x") for _ in range(count)]


rows = st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda row: sum(row) > 0)
near = st.sampled_from(
    [[0.5 - 2**-54, 0.5, 0.5 + 2**-53], [1 / 3, 1 / 3 + 1e-16, 1 / 3], [1, 0, 0]]
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(rows | near, min_size=1, max_size=5), st.floats(0.1, 10), st.sampled_from(SCALED))
def test_no_label_changes_by_a_temperature(found: list[list[float]], at: float, kind: str) -> None:
    raws = np.array(found)
    raws = raws if kind == "multilabel" else raws / raws.sum(axis=1, keepdims=True)
    items = asked(kind, len(raws))
    plain = predictor(kind, raws, 1.0).predictions(items)
    warm = predictor(kind, raws, at).predictions(items)
    assert [one.value for one in warm] == [one.value for one in plain]
    for one in warm:
        assert 0 <= one.confidence <= 1 + 1e-9
        assert list(one.answer["probabilities"].values()) == one.probabilities


@pytest.mark.parametrize("kind", SCALED)
def test_what_a_user_is_told_is_scaled_throughout(kind: str) -> None:
    raws = np.random.default_rng(3).dirichlet([0.3] * 3, 20)
    shares = scaled(raws, 2.0, each=kind == "multilabel")
    said = predictor(kind, raws, 2.0).predict(asked(kind, 20))
    assert [list(one["probabilities"].values()) for one in said] == pytest.approx(shares)
    assert [one["confidence"] for one in said] == pytest.approx(confidences(kind, shares))


def test_a_user_waits_for_one_text_at_a_time_and_a_slow_candidate_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def scorer(reading: Reading, items: list[Any]) -> list[Array]:
        seen.append(len(items))
        return [np.array([[0.2, 0.3, 0.5]])] * len(items)

    slow = Predictor(task_type("classification"), CLASSES, scorer)
    found = stage.latency(slow, EXAMPLES["classification"](120))
    assert seen == [1] * (1 + stage.SINGLES)
    assert 0 < found["latency_ms"] <= found["latency_ms_p95"]
    seen.clear()
    ticks = itertools.count()
    monkeypatch.setattr(stage.time, "perf_counter", lambda: float(next(ticks)))
    found = stage.latency(slow, EXAMPLES["classification"](120))
    assert (seen, found) == ([1] * 3, {"latency_ms": 1000, "latency_ms_p95": 1000})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny project whose metrics are those of the stage itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        tiny_project.make({"baseline": WEAK, "good": STRONG})
        for name in ("baseline", "good"):
            run_stage(name)
        tiny_project.compare()
        folders = [Path("reports") / TASK, Path("data/splits") / TASK, Path("starts")]
        bundle(TASK, *folders, Path("candidates") / TASK, Path("bundles") / TASK)
        yield Path.cwd()


def run_stage(name: str) -> None:
    folder = Path(TASK) / name
    files = (Path(f"metrics/evaluate/{folder}.json"), Path(f"plots/calibration/{folder}.json"))
    folders = (Path("starts") / name, "candidates" / folder, "predictions" / folder)
    stage.main(Path("data/splits") / TASK, *folders, *files)


@pytest.fixture(autouse=True)
def _inside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "project" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("project"))


def test_the_stage_tells_calibration_before_and_after_latency_and_size(project: Path) -> None:
    found = read_json(Path(f"metrics/evaluate/{TASK}/good.json"))
    assert found["temperatures"].keys() == {"1", "2"}
    assert found["temperature"] == np.median(list(found["temperatures"].values()))
    assert 0.1 <= found["temperature"] != 1
    assert found["ece_scaled"] < found["ece"]
    assert found["brier_scaled"] < found["brier"]
    assert 0 < found["latency_ms"] <= found["latency_ms_p95"]
    assert found["bytes"] == read_json(Path(f"predictions/{TASK}/good/candidate.json"))["bytes"]


def test_the_comparison_and_the_registry_hear_of_them(project: Path) -> None:
    told = read_json(Path(f"metrics/evaluate/{TASK}/good.json"))
    known = read_json(Path(f"reports/{TASK}/comparison.json"))["candidates"]["good"]
    names = {"ece", "brier", "ece_scaled", "brier_scaled", "temperature"}
    names |= {"latency_ms", "latency_ms_p95", "bytes"}
    assert {name: known[name] for name in names} == {name: told[name] for name in names}
    assert names <= metrics(known).keys()


def test_predictions_are_saved_raw_and_scale_to_what_the_stage_found(project: Path) -> None:
    folder = Path(f"predictions/{TASK}/good")
    rows = [row for row in read_rows(folder / "predictions.parquet") if row["split"] == "test"]
    assert all(row["confidence"] == max(row["probabilities"]) for row in rows)
    told = read_json(Path(f"metrics/evaluate/{TASK}/good.json"))
    said = read_predictions(folder, "test")
    by = [told["temperatures"][str(seed)] for seed in said.seeds]
    sure = scaled_confidences("classification", said.probabilities, by).ravel().tolist()
    right = {row["id"]: row["label"] for row in read_rows(Path(f"data/splits/{TASK}/test.parquet"))}
    corrects = [
        float(v == right[i])
        for values in said.values
        for i, v in zip(said.ids, values, strict=True)
    ]
    assert calibration(sure, corrects, 10)["ece"] == pytest.approx(told["ece_scaled"], abs=2e-6)


def test_a_bundle_is_as_sure_as_it_is_right_and_says_the_same_labels(project: Path) -> None:
    folder, examples = Path("bundles") / TASK, EXAMPLES["classification"](40)
    about = read_json(folder / "bundle.json")
    told = read_json(Path(f"metrics/evaluate/{TASK}/good.json"))
    assert about["temperature"] == told["temperatures"][str(about["seed"])]
    assert f"temperature {about['temperature']:.2f}" in (folder / "README.md").read_text()
    raw = load_candidate(folder, folder, ".", 32)
    said, plain = load_predictor(folder).predictions(examples), raw.predictions(examples)
    assert [one.value for one in said] == [one.value for one in plain]
    sure = scaled(np.array([one.probabilities for one in plain]), about["temperature"])
    assert np.array([one.probabilities for one in said]) == pytest.approx(sure)
    alike = replace(raw, temperature=about["temperature"]).predict(examples)
    assert load_predictor(folder).predict(examples) == alike
