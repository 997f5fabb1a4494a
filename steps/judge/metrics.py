"""Metrics as sums over items: a score is a function of added-up counts, so that any resample of the
items is scored by one matrix product (the paired bootstrap), and equal to scikit-learn and seqeval.

A *value* is a reference or a prediction: a label (classification), or spans `[start, end, label]`
in characters, end exclusive (tokens).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steps.core.entry import StepError
from steps.core.params import choose

Array = npt.NDArray[np.float64]
Value = Any  # str | list[tuple[int, int, str]]
Values = Sequence[Value]


@dataclass(frozen=True)
class Metric:
    """`statistics` gives (items, k) whole numbers that add up; `score` maps (..., k) to (...)."""

    name: str
    title: str
    type: str
    statistics: Callable[[Values, Values, Sequence[str]], Array]
    score: Callable[[Array], Array]


def accuracy_statistics(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2): right, counted."""
    right = [float(a == b) for a, b in zip(references, predictions, strict=True)]
    return np.stack([np.array(right), np.ones(len(right))], axis=1)


def accuracy_score(sums: Array) -> Array:
    """Share of the items that are right; 0 where there are none."""
    return _share(sums[..., 0], sums[..., 1])


def macro_f1_statistics(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 3 * labels): right, predicted and referenced, each one-hot over the labels."""
    of = {label: place for place, label in enumerate(labels)}
    truth, said = _places(references, of), _places(predictions, of)
    rows = np.arange(len(truth))
    counts = np.zeros((len(rows), 3, len(of)))
    counts[rows, 0, truth] = truth == said
    counts[rows, 1, said] = 1
    counts[rows, 2, truth] = 1
    return counts.reshape(len(rows), 3 * len(of))


def macro_f1_score(sums: Array) -> Array:
    """Mean F1 over the labels that are in the sample's references or predictions.

    That is scikit-learn's `f1_score(average="macro")` with its default labels: a label that a
    sample holds nowhere is no part of its mean, and not a zero that only says that it is rare.
    """
    right, predicted, referenced = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    seen = predicted + referenced
    return _share(_share(2 * right, seen).sum(-1), (seen > 0).sum(-1))


def span_f1_statistics(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 3) numbers of spans: right in bounds and label, predicted, referenced."""
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        truth, said = spans(reference), spans(prediction)
        rows.append((len(truth & said), len(said), len(truth)))
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def span_f1_score(sums: Array) -> Array:
    """Micro F1 over all spans of the sample, as seqeval's strict mode; 0 where there is none."""
    return _share(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def spans(value: Value) -> set[tuple[int, int, str]]:
    """Spans as a set, from `[start, end, label]` or from dicts of these keys."""
    rows = [(s["start"], s["end"], s["label"]) if isinstance(s, dict) else s for s in value]
    return {(int(start), int(end), str(label)) for start, end, label in rows}


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "accuracy", "accuracy", "classification", accuracy_statistics, accuracy_score
    ),
    "macro_f1": Metric(
        "macro_f1", "macro-F1", "classification", macro_f1_statistics, macro_f1_score
    ),
    "span_f1": Metric("span_f1", "span F1", "tokens", span_f1_statistics, span_f1_score),
}


def metric_for(name: str, kind: str) -> Metric:
    """Look a metric up for a task type; StepError where it does not fit."""
    metric = choose(name, METRICS, "metric")
    if metric.type != kind:
        fits = ", ".join(sorted(m.name for m in METRICS.values() if m.type == kind))
        raise StepError(f"metric {name!r} is for {metric.type} tasks; for {kind} take: {fits}")
    return metric


def compute(name: str, references: Values, predictions: Values, labels: Sequence[str]) -> float:
    """Score one list of predictions; `labels` are the task's, in any order."""
    metric = choose(name, METRICS, "metric")
    return float(metric.score(metric.statistics(references, predictions, labels).sum(axis=0)))


def stack(
    metric: Metric, references: Values, seeds: Sequence[Values], labels: Sequence[str]
) -> Array:
    """Return the statistics of several seeds' predictions: (seeds, items, k)."""
    return np.stack([metric.statistics(references, said, labels) for said in seeds])


def _places(values: Values, of: dict[str, int]) -> npt.NDArray[np.int64]:
    unknown = sorted({str(value) for value in values} - of.keys())
    if unknown:
        raise StepError(
            f"label {unknown[0]!r} ({len(unknown)} such) is not among the task's: "
            f"{', '.join(sorted(of))}; mend the examples or split again"
        )
    return np.array([of[value] for value in values], dtype=np.int64)


def _share(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
