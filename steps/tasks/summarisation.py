"""Summarisation: a shorter text; its reference is `target`."""

from typing import Any

from steps.tasks import Item, Prediction
from steps.tasks.translation import INPUTS, OUTPUT, labels, reference, written

__all__ = ["INPUTS", "OUTPUT", "decode", "labels", "reference"]


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    return written(raws, "summary")
