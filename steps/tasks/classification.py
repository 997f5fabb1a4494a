"""Single-label classification: one unit, the text; its reference is `label`."""

import itertools
import re
from collections import Counter
from typing import Any

import numpy as np

from steps.tasks import Item, Prediction, unseen

OUTPUT = "classes"
INPUTS: tuple[str, ...] = ("text",)
LEVEL = "text"
WEIGHED = True
WORD = re.compile(r"\w+")


def labels(examples: list[Item]) -> list[str]:
    return sorted({example["label"] for example in examples})


def reference(example: Item) -> str:
    return str(example["label"])


def classes(labels: list[str]) -> list[str]:
    return labels


def units(item: Item) -> list[tuple[int, int]]:
    return [(0, len(item["text"]))]


def targets(example: Item, classes: list[str]) -> np.ndarray:
    if example["label"] not in classes:
        raise unseen(example, example["label"])
    return np.array([classes.index(example["label"])], dtype=np.int64)


def features(item: Item) -> list[dict[str, float]]:
    """Count the text's words and pairs of neighbouring words."""
    return [counts(grams(words(item["text"])))]


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def grams(words: list[str]) -> list[str]:
    """Words, and pairs of neighbours."""
    return [*words, *(f"{left} {right}" for left, right in itertools.pairwise(words))]


def counts(names: list[str]) -> dict[str, float]:
    return {name: float(n) for name, n in Counter(names).items()}


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    return [_decode(raw[0], classes) for raw in raws]


def _decode(row: np.ndarray, classes: list[str]) -> Prediction:
    best = int(row.argmax())
    shares = {name: float(share) for name, share in zip(classes, row, strict=True)}
    answer = {"label": classes[best], "confidence": float(row[best]), "probabilities": shares}
    return Prediction(classes[best], float(row[best]), answer, [float(share) for share in row])
