"""Sentiment: one label a text, and where the labels have an order, the text's place between them.

Their order is known if all are names of RANKS ("very_negative" is "very negative"), or all numbers,
with stars or without ("1 star" ... "5 stars").
"""

import re
from dataclasses import replace
from typing import Any

from steps.tasks import Prediction
from steps.tasks import classification as single
from steps.tasks.classification import (
    INPUTS,
    LEVEL,
    OUTPUT,
    WEIGHED,
    features,
    labels,
    reference,
    targets,
    units,
)

__all__ = ["INPUTS", "LEVEL", "OUTPUT", "WEIGHED", "classes", "decode", "features"]
__all__ += ["labels", "reference", "targets", "units"]
RANKS = {"very negative": -2, "negative": -1, "neg": -1, "neutral": 0}
RANKS |= {"very positive": 2, "positive": 1, "pos": 1}
NUMBER = re.compile(r"(-?\d+)(?: stars?)?")


def classes(labels: list[str]) -> list[str]:
    """From negative to positive, where that is known."""
    where = places(labels)
    return [label for _, label in sorted(zip(where, labels, strict=True))] if where else labels


def places(labels: list[str]) -> list[float]:
    """Where each label stands between -1 and 1; [] where no order is known."""
    names = [" ".join(re.split(r"[\s_-]+", label.strip().lower())) for label in labels]
    if all(name in RANKS for name in names):
        most = max((abs(RANKS[name]) for name in names), default=0) or 1
        return [RANKS[name] / most for name in names]
    numbers = [NUMBER.fullmatch(label.strip().lower()) for label in labels]
    if not all(numbers):
        return []
    found = [int(number[1]) for number in numbers if number]
    middle, reach = (max(found) + min(found)) / 2, (max(found) - min(found)) / 2 or 1
    return [(number - middle) / reach for number in found]


def decode(items: list[Any], raws: list[Any], classes: list[str]) -> list[Prediction]:
    """The answer's `score` is the expected place."""
    where = places(classes)
    return [_placed(said, where) for said in single.decode(items, raws, classes)]


def _placed(said: Prediction, where: list[float]) -> Prediction:
    if not where:
        return said
    score = sum(share * at for share, at in zip(said.probabilities, where, strict=True))
    return replace(said, answer=said.answer | {"score": score})
