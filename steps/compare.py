"""Stage `compare`: all candidates of a task -> winner, differences, what adaptation was worth.

    python -m steps.compare TASK DATA PREDICTIONS METRICS OUT SUMMARY

DATA is the folder of splits/TASK and profiles/overlap (words in common), METRICS that of metrics:
evaluate/TASK and finetune/TASK (costs), adapt (held-out losses).
No model is read; what needs the winner's, the page among it, is made by `report`.
"""

from collections.abc import Iterable, Mapping
from math import isclose
from pathlib import Path
from typing import Any

from steps.core.entry import StepError, run
from steps.core.files import read_json, whole, write_json
from steps.core.params import Recipe, choose, load
from steps.judge import ablation, adaptation
from steps.judge.adaptation_costs import with_overlap
from steps.judge.contest import (
    PARTS,
    Candidate,
    Contest,
    against_baseline,
    contamination,
    described,
)
from steps.judge.libraries import library_score
from steps.judge.load import read_predictions, read_references
from steps.judge.metrics import metric_for
from steps.judge.unknown import read_by
from steps.judge.wording import headline

COSTS = {
    "evaluate": (
        *("ece", "brier", "ece_scaled", "brier_scaled", "temperature", "temperatures"),
        *("seconds_per_1000", "latency_ms", "latency_ms_p95", "bytes"),
    ),
    "finetune": ("train_seconds",),
}


def compare(
    contest: Contest,
    recipes: Mapping[str, Recipe],
    losses: Mapping[str, Mapping[str, Any]],
    slices: list[str],
) -> dict[str, Any]:
    """Everything that is decided about a task, as comparison.json has it."""
    test = contest.references["test"]
    found = {
        "task": contest.task,
        "type": test.kind,
        "metric": contest.metric.name,
        "metric_title": contest.metric.title,
        "metric_meaning": contest.metric.meaning,
        "lower_is_better": contest.metric.better < 0,
        "winner": contest.winner,
        "baseline": contest.baseline,
        "seed": contest.seed,
        "ranking": contest.ranking,
        "candidates": {name: described(contest, name, slices) for name in contest.candidates},
        "adaptation": adaptation.compare(contest, recipes, losses),
        "ablations": ablation.compare(contest, recipes),
        "left_out": dict(contest.left_out),
        "verdict": against_baseline(contest),
        "contamination": contamination(contest),
        "slices": contest.by_slice(contest.winner, contest.baseline, slices),
        "test_items": len(test.ids),
        "test_digest": test.digest,
        "confidence": contest.judge.confidence,
        "resamples": contest.judge.resamples,
    }
    return found | {"headline": headline(found)}


def verify(contest: Contest) -> None:
    """Score winner and baseline on test once more, by the metric's library; they must agree."""
    truth = contest.references["test"].values
    for name in {contest.winner, contest.baseline}:
        said = contest.candidates[name].parts["test"].values
        for (seed, ours), values in zip(contest.seeds("test", name).items(), said, strict=True):
            theirs = library_score(contest.metric.name, truth, values)
            if not isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-5):
                raise StepError(
                    f"{contest.task} {name}, seed {seed}: {contest.metric.name} is {ours} here and "
                    f"{theirs} by its library; this is a defect of Outplant, and nothing is decided"
                )


def summary(comparison: dict[str, Any]) -> dict[str, Any]:
    """Few numbers, for `dvc metrics diff`."""
    numbers = ("difference", "low", "high")
    scores = {
        role: {part: comparison["candidates"][comparison[role]][part]["mean"] for part in PARTS}
        for role in ("winner", "baseline")
    }
    return scores | {name: comparison["verdict"][name] for name in numbers}


def points(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Each candidate's score on test, the best by validation first, for `dvc plots show`."""
    return [
        {"candidate": name, "score": comparison["candidates"][name]["test"]["mean"]}
        for name in comparison["ranking"]
    ]


def read_candidates(
    task: str, recipes: Iterable[str], predictions: Path, metrics: Path
) -> dict[str, Candidate]:
    """Read what `evaluate` and `finetune` saved of each recipe that is not left out of the task.

    StepError where one is missing.
    """
    left = left_out(recipes, predictions)
    found = {}
    for name in sorted(set(recipes) - left.keys()):
        folder = predictions / name
        parts = {part: read_predictions(folder, part) for part in PARTS}
        costs = {
            key: read_json(metrics / stage / task / f"{name}.json").get(key)
            for stage, keys in COSTS.items()
            for key in keys
        }
        about = parts["test"].about
        found[name] = Candidate(name, parts, about, costs | {"parameters": about["parameters"]})
    return found


def left_out(recipes: Iterable[str], predictions: Path) -> dict[str, str]:
    """Recipes that are not for this task -> why, as `evaluate` wrote it."""
    found = {}
    for name in sorted(recipes):
        folder = predictions / name
        if not folder.is_dir():
            raise StepError(
                f"no predictions of {name} in {predictions}; run `dvc repro` to make them"
            )
        reason = read_json(folder / "candidate.json").get("left_out")
        if reason is not None:
            found[name] = str(reason)
    return found


def main(task: str, data: Path, predictions: Path, metrics: Path, out: Path, small: Path) -> None:
    params, splits = load(), data / "splits" / task
    knobs = choose(task, params.tasks, "task")
    start = Path(params.profile.start)
    references = {
        part: read_by(read_references(splits, part), knobs.slices, start) for part in PARTS
    }
    contest = Contest(
        task,
        metric_for(knobs.metric, references["test"].kind),
        references,
        read_candidates(task, params.recipes, predictions, metrics),
        params.gate.baseline,
        params.judge,
        left_out(params.recipes, predictions),
    )
    verify(contest)
    losses = {file.stem: read_json(file) for file in sorted((metrics / "adapt").glob("*.json"))}
    overlap = read_json(data / "profiles/overlap/overlap.json")["overlap"]
    losses = with_overlap(losses, task, overlap)
    comparison = compare(contest, params.recipes, losses, knobs.slices)
    with whole(out) as made:
        write_json(made / "comparison.json", comparison)
        write_json(made / "scores.json", points(comparison))
    write_json(small, summary(comparison))
    print(comparison["headline"])


if __name__ == "__main__":
    run(main)
