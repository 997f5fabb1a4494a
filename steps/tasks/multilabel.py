"""Any number of labels a text, none too: each for itself; its reference is `labels`, sorted."""

from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.tasks import Item, Prediction, unseen
from steps.tasks.classification import INPUTS, LEVEL, WEIGHED, features, units

__all__ = ["INPUTS", "LEVEL", "OUTPUT", "WEIGHED", "classes", "decode", "features"]
__all__ += ["labels", "reference", "targets", "units"]
OUTPUT = "labels"
CHOSEN = 0.5  # the probability from which a label is given


def labels(examples: list[Item]) -> list[str]:
    return sorted({label for example in examples for label in example["labels"]})


def reference(example: Item) -> list[str]:
    return sorted(example["labels"])


def classes(labels: list[str]) -> list[str]:
    if not labels:
        raise StepError("no training example has a label; label some, or draw another split")
    return labels


def targets(example: Item, classes: list[str]) -> np.ndarray:
    number = {name: place for place, name in enumerate(classes)}
    found = np.zeros((1, len(classes)), dtype=np.float32)
    for label in example["labels"]:
        if label not in number:
            raise unseen(example, label)
        found[0, number[label]] = 1
    return found


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    return [_decode(raw[0], classes) for raw in raws]


def _decode(row: np.ndarray, classes: list[str]) -> Prediction:
    """The confidence is a mean over labels: how sure it is to give or withhold each."""
    shares = {name: float(share) for name, share in zip(classes, row, strict=True)}
    value = sorted(name for name, share in shares.items() if share >= CHOSEN)
    sure = float(np.maximum(row, 1 - row).mean())
    answer = {"labels": value, "confidence": sure, "probabilities": shares}
    return Prediction(value, sure, answer, list(shares.values()))
