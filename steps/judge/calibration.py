"""Calibration: is a candidate right as often as it says?"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from steps.judge.answer_metrics import exact_match
from steps.judge.metrics import ONE_LABEL
from steps.judge.values import Value, Values, rounded, spans, tagged

# The units that a tokens' confidence is the mean of, as steps.tasks.tokens has them.
ALONE = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
WORD = re.compile(rf"(?:[^\W{ALONE}]|[{MARKS}])+|[^\s]")


def calibration(
    confidences: Sequence[float], corrects: Sequence[float], bins: int
) -> dict[str, Any]:
    """Expected calibration error over bins of equal width; the curve has the bins that hold items.

    Guo et al. 2017, arXiv:1706.04599. `corrects` are 0 or 1, or shares between them. Without any,
    where nothing is right or wrong, the error is None and the curve empty.
    """
    if not len(corrects):
        return {"ece": None, "curve": []}
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
    """How right each prediction is: 0, 1, or for tokens, tags and multilabel a share.

    Their confidence is a mean, over words or over labels, so that agreement of all would be the
    wrong thing to hold it against. [] where nothing is right or wrong: a number, a text, a rank.
    """
    pairs = list(zip(references, predictions, strict=True))
    if kind in ONE_LABEL:
        return [float(reference == prediction) for reference, prediction in pairs]
    if kind == "multilabel":
        return _decisions_right(pairs)
    if kind == "tokens":
        return [_words_right(text, *pair) for text, pair in zip(texts, pairs, strict=True)]
    if kind == "tags":
        return [_share([label == said for label, said in tagged(*pair)]) for pair in pairs]
    if kind == "question_answering":
        return [exact_match(*pair) for pair in pairs]
    return []


def _decisions_right(pairs: Sequence[tuple[Value, Value]]) -> list[float]:
    """The share of labels, of those in use anywhere here, that are rightly given or withheld."""
    labels = {label for pair in pairs for value in pair for label in value}
    wrong = [len(set(reference) ^ set(prediction)) for reference, prediction in pairs]
    return [1 - count / len(labels) if labels else 1.0 for count in wrong]


def _share(right: Sequence[bool]) -> float:
    return float(np.mean(right)) if right else 1.0


def _words_right(text: str, reference: Any, prediction: Any) -> float:
    truth, said = (_word_labels(text, value) for value in (reference, prediction))
    return _share([a == b for a, b in zip(truth, said, strict=True)])


def _word_labels(text: str, value: Any) -> list[str]:
    """One label a word or sign, "" for none: that of the span that covers any of it."""
    labels, found = [], sorted(spans(value))
    for word in WORD.finditer(text):
        first, last = word.span()
        over = [label for start, end, label in found if start < last and end > first]
        labels.append(over[0] if over else "")
    return labels
