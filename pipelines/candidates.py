"""What the registry is told of candidates and winners, gathered from files alone."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines import lineage, traces
from steps.core.files import digest, read_json

VALIDATION = Path("data/validation/tasks")
PREDICTIONS = Path("predictions")
CANDIDATES, CALIBRATION = Path("candidates"), Path("plots/calibration")
# What loading a bundle imports, at the versions that it was made with.
NEEDED = ("numpy", "pyarrow", "pydantic", "safetensors", "scikit-learn", "torch", "transformers")
PARAM_LENGTH = 500


@dataclass(frozen=True)
class Candidate:
    """A task x a recipe, as one MLflow run; `key` is the lineage key of its predictions.

    `curves`: name -> step -> value.
    """

    task: str
    recipe: str
    key: str
    params: dict[str, str]
    metrics: dict[str, float]
    curves: dict[str, dict[int, float]]
    commit: lineage.Commit

    def tags(self) -> dict[str, str]:
        """Return a run's tags."""
        known = {"task": self.task, "recipe": self.recipe, "lineage": self.key}
        known |= {"commit": self.commit.hash, "dirty": json.dumps(self.commit.dirty)}
        return {f"outplant.{name}": value for name, value in known.items()}


def candidates(entries: lineage.Entries, task: str, comparison: dict[str, Any]) -> list[Candidate]:
    """Return every candidate that was compared, with the params and the lineage of its stages."""
    found, commit = [], lineage.commit()
    for recipe, scores in sorted(comparison["candidates"].items()):
        stages = lineage.upstream(entries, PREDICTIONS / task / recipe)
        params = _params(lineage.params(stages), task, recipe)
        key = lineage.key(stages)
        told = metrics(scores), curves(task, recipe)
        found.append(Candidate(task, recipe, key, params, *told, commit))
    return found


def curves(task: str, recipe: str) -> dict[str, dict[int, float]]:
    """Read each seed's loss and score on validation by epoch, accuracy by percent of confidence.

    What is not at hand, as where only a report was pulled, is left out.
    """
    found: dict[str, dict[int, float]] = {}
    for file in sorted((CANDIDATES / task / recipe).glob("seed-*/figures.json")):
        figures, seed = read_json(file), file.parent.name.replace("-", "_")
        judged = figures.get("validation") is not None
        lists = {"loss": figures.get("losses", []), "validation": figures.get("scores", [])}
        for name, values in lists.items():
            if values and (judged or name == "loss"):
                found[f"{name}_{seed}"] = dict(enumerate(values, 1))
    drawn = CALIBRATION / task / f"{recipe}.json"
    for point in read_json(drawn) if drawn.exists() else []:
        by_percent = found.setdefault("calibration", {})
        by_percent[round(100 * point["confidence"])] = point["accuracy"]
    return found


def metrics(scores: dict[str, Any]) -> dict[str, float]:
    """Flatten a candidate's scores: test, test_low, validation, ... and its plain numbers."""
    named = {name: value for name, value in scores.items() if isinstance(value, int | float)}
    for part in ("validation", "test"):
        for what, value in scores[part].items():
            if isinstance(value, int | float):
                named[part if what == "mean" else f"{part}_{what}"] = value
    return {name: float(value) for name, value in sorted(named.items())}


def evidence(
    entries: lineage.Entries, stages: lineage.Entries, task: str, report: Path, out: Path
) -> None:
    """Gather what a gate needs of a winner later: comparison, predictions and the baseline's,
    validation verdict; and what a trace does: its `stages` and the hashes of all raw files.
    """
    comparison = read_json(report / "comparison.json")
    recipe = comparison["winner"]
    said, checked = PREDICTIONS / task / recipe, VALIDATION / task
    lineage.verify(entries, said)
    lineage.verify(entries, checked)
    shutil.copytree(report, out)
    shutil.copytree(said, out, dirs_exist_ok=True)
    shutil.copyfile(checked / "verdict.json", out / "validation.json")
    if (baseline := comparison["baseline"]) != recipe:
        shutil.copytree(PREDICTIONS / task / baseline, out / "baseline")
    traces.write(stages, out)


def tags(task: str, key: str, bundle: Path, evidence: Path) -> dict[str, str]:
    """Return a version's tags, by which it is found, shown and traced."""
    about = read_json(bundle / "bundle.json")
    comparison = read_json(evidence / "comparison.json")
    commit = lineage.commit()
    known = {
        "task": task,
        "lineage": key,
        "recipe": about["recipe"],
        "metric": about["metric"],
        "score": comparison["candidates"][about["recipe"]]["test"]["mean"],
        "seed": about["seed"],
        "commit": commit.hash,
        "dirty": json.dumps(commit.dirty),
        "predictions": digest(evidence / "predictions.parquet"),
    }
    return {f"outplant.{name}": str(value) for name, value in known.items()}


def requirements() -> list[str]:
    """Return what a server that loads a bundle installs beside this package."""
    return [f"{name}=={version(name).split('+')[0]}" for name in NEEDED]


def _params(known: dict[str, Any], task: str, recipe: str) -> dict[str, str]:
    """Cut the prefix of the run's own: the `epochs` of all recipes stand in one column."""
    cut = {}
    for name, value in known.items():
        if not name.endswith(".expect"):
            short = name.removeprefix(f"recipes.{recipe}.").removeprefix(f"tasks.{task}.")
            cut[short] = str(value)[:PARAM_LENGTH]
    return cut
