"""Saved predictions and the references they are held against, in one order of items."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.core.files import read_json, read_rows
from steps.core.params import choose
from steps.judge.metrics import Metric, stack
from steps.judge.values import REFERENCES, Array, Value, spans


@dataclass(frozen=True)
class References:
    """One split of a task, sorted by id; what `values` are is said in steps.judge.values."""

    kind: str
    labels: list[str]
    ids: list[str]
    examples: list[dict[str, Any]]
    values: list[Value]

    @property
    def digest(self) -> str:
        """Return the sha256 of the ids: two test sets with one digest hold the same items."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()


@dataclass(frozen=True)
class Predictions:
    """What one candidate said on one split: per seed a list of values in the order of `ids`."""

    recipe: str
    about: dict[str, Any]
    ids: list[str]
    seeds: list[int]
    values: list[list[Value]]
    confidences: Array  # (seeds, items)
    probabilities: Array | None = None  # (seeds, items, classes), no classes where none were saved

    def statistics(self, references: References, metric: Metric) -> Array:
        """Return (seeds, items, k) counts in the references' order; StepError where ids differ."""
        align(references, self)
        return stack(metric, references.values, self.values, references.labels)


def read_references(folder: Path, split: str) -> References:
    """Read data/splits/TASK; `split` is train, validation or test."""
    task = read_json(folder / "task.json")
    rows = sorted(read_rows(folder / f"{split}.parquet"), key=lambda row: str(row["id"]))
    kind = str(task["type"])
    reference = choose(kind, REFERENCES, "task type")
    values = [reference(row) for row in rows]
    return References(kind, list(task["labels"]), [str(r["id"]) for r in rows], rows, values)


def read_predictions(folder: Path, split: str) -> Predictions:
    """Read predictions/TASK/RECIPE, sorted by id; StepError where seeds cover different items."""
    about = read_json(folder / "candidate.json")
    rows = [r for r in read_rows(folder / "predictions.parquet") if r["split"] == split]
    by_seed: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_seed.setdefault(int(row["seed"]), {})[str(row["id"])] = row
    if not by_seed or sum(map(len, by_seed.values())) != len(rows):
        raise StepError(
            f"{folder}: no {split} predictions, or an id twice; run its `evaluate` again"
        )
    seeds = sorted(by_seed)
    ids = sorted(by_seed[seeds[0]])
    for seed in seeds:
        _same(ids, list(by_seed[seed]), f"{folder}: {split}, seed {seed}")
    return Predictions(
        str(about["recipe"]),
        about,
        ids,
        seeds,
        [[_value(by_seed[seed][i]["prediction"]) for i in ids] for seed in seeds],
        np.array([[by_seed[seed][i]["confidence"] for i in ids] for seed in seeds]),
        np.array([[by_seed[seed][i]["probabilities"] for i in ids] for seed in seeds], float),
    )


def align(references: References, *candidates: Predictions) -> None:
    """Refuse predictions that are not of exactly the references' items."""
    for candidate in candidates:
        _same(references.ids, candidate.ids, f"predictions of {candidate.recipe}")


def _same(expected: Sequence[str], found: Sequence[str], where: str) -> None:
    lacking = sorted(set(expected) - set(found))
    foreign = sorted(set(found) - set(expected))
    if lacking or foreign:
        example = (lacking or foreign)[0]
        raise StepError(
            f"{where}: {len(lacking)} of {len(expected)} items lack a prediction, "
            f"{len(foreign)} predictions are of other items (such as {example}); "
            f"make them again on this split: `dvc repro`"
        )


def _value(said: str) -> Value:
    value = json.loads(said)
    listed = isinstance(value, list) and any(isinstance(one, list | dict) for one in value)
    return sorted(spans(value)) if listed else value
