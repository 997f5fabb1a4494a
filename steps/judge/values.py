"""What is compared: references and predictions, in the form that each task type has them in JSON.

A *value* is a label (classification, sentiment, pairs), a list of labels (multilabel), a number
(regression), spans `[start, end, label]` in characters, end exclusive (tokens, tags), a text
(translation, summarisation), or what the two sides differ in: of question_answering a reference is
the list of right answers, none where there is no answer, and a prediction one of them, "" for none;
of generation a reference is the target, a prediction the dict {text, loss, words}; of retrieval a
reference is the right passage, a prediction its rank, 1 for the first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Value = Any
Values = Sequence[Value]
Span = tuple[int, int, str]


def _label(example: Mapping[str, Any]) -> Value:
    return example["label"]


def _labels(example: Mapping[str, Any]) -> Value:
    return sorted(example["labels"])


def _score(example: Mapping[str, Any]) -> Value:
    return float(example["score"])


def _spans(example: Mapping[str, Any]) -> Value:
    return sorted(spans(example["spans"]))


def _answers(example: Mapping[str, Any]) -> Value:
    return [answer["text"] for answer in example["answers"]]


def _target(example: Mapping[str, Any]) -> Value:
    return example["target"]


REFERENCES: dict[str, Callable[[Mapping[str, Any]], Value]] = {  # task type -> an example's own
    "classification": _label,
    "sentiment": _label,
    "pairs": _label,
    "multilabel": _labels,
    "regression": _score,
    "tokens": _spans,
    "tags": _spans,
    "question_answering": _answers,
    "translation": _target,
    "summarisation": _target,
    "generation": _target,
    "retrieval": _target,
}


def spans(value: Value) -> set[Span]:
    """Spans as a set, from `[start, end, label]` or from dicts of these keys."""
    rows = [(s["start"], s["end"], s["label"]) if isinstance(s, dict) else s for s in value]
    return {(int(start), int(end), str(label)) for start, end, label in rows}


def text(value: Value) -> str:
    """The words of a text, or of what was generated."""
    return str(value["text"] if isinstance(value, Mapping) else value)


def tagged(reference: Value, prediction: Value) -> list[tuple[str, str]]:
    """Labels of each of the reference's spans: its own, and what the prediction says, "" if none.

    Bounds are given in tagging, so that only labels can be wrong.
    """
    said = {(start, end): label for start, end, label in spans(prediction)}
    truth = sorted(spans(reference))
    return [(label, said.get((start, end), "")) for start, end, label in truth]


def share(part: Array, whole: Array) -> Array:
    """Part of whole, and 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)


def f1(sums: Array) -> Array:
    """F1 from (..., 3): right, predicted, referenced; 0 where the latter two are."""
    return share(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def mean(sums: Array) -> Array:
    """Mean from (..., 2): the sum, and the number of what was added."""
    return share(sums[..., 0], sums[..., 1])


def counted(scores: Iterable[float]) -> Array:
    """Put a 1 beside each item's score, (items, 2): the statistics of a mean over items."""
    column = np.array(list(scores), dtype=np.float64)
    return np.stack([column, np.ones_like(column)], axis=1)


def rounded(value: float) -> float:
    """Six decimals: the same bytes on machines that add in another order."""
    return round(float(value), 6) + 0.0
