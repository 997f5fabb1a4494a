"""Calibration: is a candidate right as often as it says?"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from steps.judge.bootstrap import rounded
from steps.judge.metrics import Values, spans

WORD = re.compile(r"\w+|[^\w\s]")  # the units that a tokens' confidence is the mean of


def calibration(
    confidences: Sequence[float], corrects: Sequence[float], bins: int
) -> dict[str, Any]:
    """Expected calibration error over bins of equal width; the curve has the bins that hold items.

    Guo et al. 2017, arXiv:1706.04599. `corrects` are 0 or 1, or shares between them.
    """
    said, right = np.asarray(confidences, float).ravel(), np.asarray(corrects, float).ravel()
    of = np.minimum((said * bins).astype(int), bins - 1)
    curve, error = [], 0.0
    for place in range(bins):
        inside = of == place
        if not inside.any():
            continue
        confidence, accuracy = said[inside].mean(), right[inside].mean()
        error += abs(confidence - accuracy) * inside.mean()
        curve.append(
            {
                "confidence": rounded(confidence),
                "accuracy": rounded(accuracy),
                "count": int(inside.sum()),
            }
        )
    return {"ece": rounded(error), "curve": curve}


def corrects(
    kind: str, texts: Sequence[str], references: Values, predictions: Values
) -> list[float]:
    """How right each prediction is: 0 or 1; for tokens the share of words with the right label.

    A tokens' confidence is a mean over tokens, so that exact agreement of all spans would be
    the wrong thing to hold it against.
    """
    pairs = zip(texts, references, predictions, strict=True)
    if kind == "classification":
        return [float(reference == prediction) for _, reference, prediction in pairs]
    return [_words_right(*pair) for pair in pairs]


def _words_right(text: str, reference: Any, prediction: Any) -> float:
    truth, said = (_word_labels(text, value) for value in (reference, prediction))
    return float(np.mean([a == b for a, b in zip(truth, said, strict=True)])) if truth else 1.0


def _word_labels(text: str, value: Any) -> list[str]:
    """One label a word or sign, "" for none: that of the span that covers any of it."""
    labels, found = [], sorted(spans(value))
    for word in WORD.finditer(text):
        first, last = word.span()
        over = [label for start, end, label in found if start < last and end > first]
        labels.append(over[0] if over else "")
    return labels
