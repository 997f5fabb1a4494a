"""Accuracy and F1 of labels: one an item, or any number of them."""

from collections.abc import Sequence

import numpy as np

from steps.core.entry import StepError
from steps.judge.values import Array, Values, counted, share


def accuracy(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2): right, counted."""
    return counted(float(a == b) for a, b in zip(references, predictions, strict=True))


def by_label(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 3 * labels): right, predicted and referenced, each a row over the labels."""
    truth, said = _rows(references, labels), _rows(predictions, labels)
    return np.stack([truth * said, said, truth], axis=1).reshape(len(truth), 3 * len(labels))


def macro_f1(sums: Array) -> Array:
    """Mean F1 over the labels that are in the sample's references or predictions.

    That is scikit-learn's `f1_score(average="macro")` with its default labels: a label that a
    sample holds nowhere is no part of its mean, and not a zero that only says that it is rare.
    """
    right, predicted, referenced = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    seen = predicted + referenced
    return share(share(2 * right, seen).sum(-1), (seen > 0).sum(-1))


def over_labels(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 3) numbers of labels: right, predicted, referenced."""
    counts: Array = by_label(references, predictions, labels).reshape(-1, 3, len(labels)).sum(-1)
    return counts


def _rows(values: Values, labels: Sequence[str]) -> Array:
    """Return (items, labels), 1 where an item has the label; StepError for one that is unknown."""
    of = {label: place for place, label in enumerate(labels)}
    lists = [[value] if isinstance(value, str) else value for value in values]
    unknown = sorted({str(label) for said in lists for label in said} - of.keys())
    if unknown:
        raise StepError(
            f"label {unknown[0]!r} ({len(unknown)} such) is not among the task's: "
            f"{', '.join(sorted(of))}; mend the examples or split again"
        )
    rows = np.zeros((len(lists), len(of)))
    for row, said in zip(rows, lists, strict=True):
        row[[of[label] for label in said]] = 1
    return rows
