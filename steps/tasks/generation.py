"""Generation: what comes after a text; its reference is `target`, of which a prediction also tells
the loss, in nats, and the words.
"""

from dataclasses import replace
from typing import Any

from steps.tasks import Item, Prediction
from steps.tasks.translation import INPUTS, OUTPUT, labels, reference, written

__all__ = ["INPUTS", "OUTPUT", "decode", "labels", "reference"]
VALUE = ("text", "loss", "words")


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    return [
        replace(said, value={name: raw[name] for name in VALUE})
        for said, raw in zip(written(raws, "continuation"), raws, strict=True)
    ]
