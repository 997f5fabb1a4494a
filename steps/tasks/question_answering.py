"""Extractive question answering: a piece of the text answers a question, or none does; its
reference is the texts of `answers`, [] where there is no answer.
"""

from typing import Any

import numpy as np

from steps.tasks import Item, Prediction

OUTPUT = "span"
INPUTS = ("question", "text")


def labels(examples: list[Item]) -> list[str]:
    return []


def reference(example: Item) -> list[str]:
    return [answer["text"] for answer in example["answers"]]


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    """Take the candidate with the highest score; the confidence is its share among all."""
    return [_decode(item["text"], raw) for item, raw in zip(items, raws, strict=True)]


def _decode(text: str, raw: np.ndarray) -> Prediction:
    """raw: (candidates, 3)."""
    if not len(raw):
        return Prediction("", 1.0, {"answer": "", "start": None, "confidence": 1.0})
    best = int(raw[:, 2].argmax())
    shares = np.exp(raw[:, 2] - raw[best, 2])
    start, end, sure = int(raw[best, 0]), int(raw[best, 1]), float(1 / shares.sum())
    said = text[start:end] if start >= 0 else ""
    answer = {"answer": said, "start": start if start >= 0 else None, "confidence": sure}
    return Prediction(said, sure, answer)
