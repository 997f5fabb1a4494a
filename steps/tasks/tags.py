"""Tagging: each word has a label, such as its part of speech; its reference is `spans`.

A model sees the units of `tokens`, not the words of the example: "don't" is three units, each of
which learns the tag of the word that it begins in. Where an item says its words (the bounds of its
`spans`, as an example does), a word's tag is that of the surest unit that begins in it; if none
does ("not" in "cannot" that is cut in two), that of the unit around it. Elsewhere each unit is a
word. So a score is that of the example's own words, as in CoNLL-U's evaluation, and never asks a
user for them.
"""

from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.tasks import Item, Prediction, unseen
from steps.tasks.tokens import (
    INPUTS,
    LEVEL,
    OUTPUT,
    WEIGHED,
    covers,
    features,
    labels,
    reference,
    units,
)

__all__ = ["INPUTS", "LEVEL", "OUTPUT", "WEIGHED", "classes", "decode", "features"]
__all__ += ["labels", "reference", "targets", "units"]


def classes(labels: list[str]) -> list[str]:
    return labels


def targets(example: Item, classes: list[str]) -> np.ndarray:
    """Number the tag of each unit; StepError where a word has none."""
    number = {name: place for place, name in enumerate(classes)}
    found = []
    for (start, end), span in zip(units(example), covers(example), strict=True):
        if span is None:
            raise StepError(
                f"{example['text'][start:end]!r} at {start} of example {example['id']} has no tag;"
                " tag every word and sign, or give the task the type tokens"
            )
        if span["label"] not in number:
            raise unseen(example, span["label"])
        found.append(number[span["label"]])
    return np.array(found, dtype=np.int64)


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    return [_decode(item, raw, classes) for item, raw in zip(items, raws, strict=True)]


def _decode(item: Item, shares: np.ndarray, classes: list[str]) -> Prediction:
    """shares: (units, classes)."""
    bounds, sure = units(item), shares.max(axis=1, initial=0)
    words = sorted((span["start"], span["end"]) for span in item.get("spans") or []) or bounds
    answer = []
    for (start, end), unit in zip(words, _chosen(words, bounds, sure), strict=True):
        label, share = classes[int(shares[unit].argmax())], float(sure[unit])
        said = {"start": start, "end": end, "text": item["text"][start:end], "label": label}
        answer.append(said | {"confidence": share})
    value = [[said["start"], said["end"], said["label"]] for said in answer]
    mean = float(np.mean([said["confidence"] for said in answer])) if answer else 1.0
    return Prediction(value, mean, {"tags": answer})


def _chosen(
    words: list[tuple[int, int]], bounds: list[tuple[int, int]], sure: np.ndarray
) -> list[int]:
    """The unit that speaks for each word."""
    starts = [start for start, _ in bounds]
    firsts = np.searchsorted(starts, [start for start, _ in words])
    lasts = np.searchsorted(starts, [end for _, end in words])
    return [
        int(first + sure[first:last].argmax()) if first < last else max(0, int(first) - 1)
        for first, last in zip(firsts, lasts, strict=True)
    ]
