"""Translation: a text in another language; its reference is `target`."""

from typing import Any

from steps.tasks import Item, Prediction

OUTPUT = "text"
INPUTS = ("text",)


def labels(examples: list[Item]) -> list[str]:
    return []


def reference(example: Item) -> str:
    return str(example["target"])


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    return written(raws, "translation")


def written(raws: list[Any], name: str) -> list[Prediction]:
    """`name`: what a user gets the text as; "text" is what was read."""
    found = []
    for raw in raws:
        answer = {name: raw["text"], "confidence": raw["confidence"]}
        found.append(Prediction(raw["text"], raw["confidence"], answer))
    return found
