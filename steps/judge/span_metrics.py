"""Scores of spans: entities, whose bounds are part of the answer, and tags of given words."""

from collections.abc import Sequence

import numpy as np

from steps.judge.values import Array, Values, spans, tagged


def span_counts(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 3) numbers of spans: right in bounds and label, predicted, referenced.

    F1 from their sums is that of seqeval's strict mode.
    """
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        truth, said = spans(reference), spans(prediction)
        rows.append((len(truth & said), len(said), len(truth)))
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def tag_counts(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2) numbers of words: right, counted."""
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        words = tagged(reference, prediction)
        rows.append((sum(label == said for label, said in words), len(words)))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)
