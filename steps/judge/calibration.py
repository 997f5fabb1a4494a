"""Calibration: is a candidate right as often as it says?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from steps.core.temperature import FLOOR, scaled
from steps.judge.answer_metrics import exact_match
from steps.judge.metrics import ONE_LABEL
from steps.judge.values import Array, Value, Values, rounded, spans, tagged

# The units that a tokens' confidence is the mean of, as steps.tasks.tokens has them.
ALONE = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
WORD = re.compile(rf"(?:[^\W{ALONE}]|[{MARKS}])+|[^\s]")
TEMPERATURES = (0.1, 10.0)  # that are tried


class Said(Protocol):
    """What is looked at of a prediction; `probabilities`: of each class, or none."""

    @property
    def value(self) -> Value: ...
    @property
    def confidence(self) -> float: ...
    @property
    def probabilities(self) -> list[float]: ...


@dataclass(frozen=True)
class Sureness:
    """How sure predictions are, and how right (by `corrects`): (items,), right of none is (0,).

    shares, truth: the probability of each class and 1 where it is true, (items, classes); no
    classes where no probabilities were given.
    """

    kind: str
    sure: Array
    right: Array
    shares: Array
    truth: Array

    def scaled(self, temperature: float) -> "Sureness":
        """The same predictions at another temperature."""
        if temperature == 1 or not self.shares.size:
            return self
        shares = scaled(self.shares, temperature, each=self.kind not in ONE_LABEL)
        return replace(self, shares=shares, sure=confidences(self.kind, shares))

    @property
    def brier(self) -> float | None:
        """Mean squared error of probabilities, 0 is best (Brier 1950, Monthly Weather Review 78).

        Of one label Brier's own: summed over all classes, so that the worst is 2; of many labels a
        mean over these. Where no probabilities were given, of the confidence against how right a
        prediction is. None where nothing is right or wrong.
        """
        if self.shares.size:
            squares = (self.shares - self.truth) ** 2
            of_item = squares.sum(axis=1) if self.kind in ONE_LABEL else squares.mean(axis=1)
            return rounded(of_item.mean())
        return rounded(((self.sure - self.right) ** 2).mean()) if self.right.size else None

    def calibration(self, bins: int) -> dict[str, Any]:
        """Its error and curve, as of `calibration`."""
        return calibration(self.sure.tolist(), self.right.tolist(), bins)


def sureness(
    kind: str,
    classes: Sequence[str],
    texts: Sequence[str],
    references: Values,
    said: Sequence[Said],
) -> Sureness:
    """Gather how sure the predictions for some references are; `classes` as their probabilities."""
    shares = np.array([one.probabilities for one in said], float)
    given = [[reference] if kind in ONE_LABEL else reference for reference in references]
    truth = [[float(name in labels) for name in classes] for labels in given] if shares.size else []
    return Sureness(
        kind,
        np.array([one.confidence for one in said], float),
        np.array(corrects(kind, texts, references, [one.value for one in said]), float),
        shares,
        np.array(truth, float).reshape(shares.shape),
    )


def pooled(parts: Sequence[Sureness]) -> Sureness:
    """Several seeds' as one."""
    return Sureness(
        parts[0].kind,
        np.concatenate([one.sure for one in parts]),
        np.concatenate([one.right for one in parts]),
        np.concatenate([one.shares for one in parts]),
        np.concatenate([one.truth for one in parts]),
    )


def confidences(kind: str, shares: Array) -> Array:
    """(..., classes) -> (...): the greatest share; of many labels the mean, given or withheld."""
    one = kind in ONE_LABEL
    return np.asarray(shares.max(-1) if one else np.maximum(shares, 1 - shares).mean(-1))


def scaled_confidences(kind: str, probabilities: Array, temperatures: Sequence[float]) -> Array:
    """(seeds, items, classes) -> (seeds, items): how sure each seed is at its own temperature."""
    parts = zip(probabilities, temperatures, strict=True)
    by_seed = [s if at == 1 else scaled(s, at, kind not in ONE_LABEL) for s, at in parts]
    return confidences(kind, np.array(by_seed))


def temperature(held_out: Sureness, bins: int) -> float | None:
    """The temperature at which predictions are as sure as they are right, of validation's items.

    Guo et al. 2017, arXiv:1706.04599. 1 where that makes the calibration error on these very items
    no smaller, None where there are no probabilities.
    """
    if not held_out.shares.size:
        return None
    best = _likeliest(held_out.shares, held_out.truth, held_out.kind not in ONE_LABEL)
    before, after = (one.calibration(bins)["ece"] for one in (held_out, held_out.scaled(best)))
    return best if after < before else 1.0


def _likeliest(shares: Array, truth: Array, each: bool) -> float:
    """The temperature that makes the truth most likely, as if one item more were of any class: a
    few that are all right make no candidate sure of everything (Platt 1999, 2.2).
    """
    from scipy.optimize import minimize_scalar

    doubt = 1 / (len(truth) + 2)
    wanted = (1 - doubt) * truth + doubt * (1 / 2 if each else 1 / truth.shape[1])

    def loss(order: float) -> float:
        found = scaled(shares, float(np.exp(order)), each)
        logs = wanted * np.log(np.maximum(found, FLOOR))
        if each:
            logs = logs + (1 - wanted) * np.log(np.maximum(1 - found, FLOOR))
        return float(-logs.sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(round(np.exp(found.x), 6))


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
