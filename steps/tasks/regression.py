"""A number a text; its reference is `score`. A number comes without a probability."""

from typing import Any

import numpy as np

from steps.tasks import Item, Prediction
from steps.tasks.classification import INPUTS, LEVEL, WEIGHED, features, units

__all__ = ["INPUTS", "LEVEL", "OUTPUT", "WEIGHED", "classes", "decode", "features"]
__all__ += ["labels", "reference", "targets", "units"]
OUTPUT = "number"


def labels(examples: list[Item]) -> list[str]:
    return []


def reference(example: Item) -> float:
    return float(example["score"])


def classes(labels: list[str]) -> list[str]:
    return ["score"]


def targets(example: Item, classes: list[str]) -> np.ndarray:
    return np.array([[example["score"]]], dtype=np.float32)


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    found = [float(raw[0, 0]) for raw in raws]
    return [Prediction(number, 1.0, {"score": number}) for number in found]
