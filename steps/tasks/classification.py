"""Single-label classification: one unit, the text; its reference is `label`."""

import itertools
import re
from collections import Counter
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.tasks import Prediction

POOL = "mean"
TFIDF = True
WORD = re.compile(r"\w+")


def labels(examples: list[dict[str, Any]]) -> list[str]:
    return sorted({example["label"] for example in examples})


def reference(example: dict[str, Any]) -> str:
    return str(example["label"])


def classes(labels: list[str]) -> list[str]:
    return labels


def units(text: str) -> list[tuple[int, int]]:
    return [(0, len(text))]


def targets(example: dict[str, Any], classes: list[str]) -> list[int]:
    if example["label"] not in classes:
        raise StepError(f"label {example['label']!r} of example {example['id']} is not in training")
    return [classes.index(example["label"])]


def features(text: str) -> list[dict[str, float]]:
    """Count the text's words and pairs of neighbouring words."""
    words = WORD.findall(text.lower())
    pairs = (f"{left} {right}" for left, right in itertools.pairwise(words))
    return [{gram: float(n) for gram, n in Counter([*words, *pairs]).items()}]


def decode(text: str, probabilities: np.ndarray, classes: list[str]) -> Prediction:
    """probabilities: (1, classes)."""
    row = probabilities[0]
    best = int(row.argmax())
    shares = {name: float(share) for name, share in zip(classes, row, strict=True)}
    answer = {"label": classes[best], "confidence": float(row[best]), "probabilities": shares}
    return Prediction(classes[best], float(row[best]), answer, [float(share) for share in row])
