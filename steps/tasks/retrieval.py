"""Retrieval: a text is a query, `target` the passage that it should find among those of all items.

A passage is looked for by the cosine of its vector with the query's. The value of a prediction is
the rank of the item's own passage, and 0 where an item has none: the vector is its answer.
"""

from typing import Any

import numpy as np

from steps.tasks import Item, Prediction
from steps.tasks.translation import INPUTS, labels, reference

__all__ = ["INPUTS", "OUTPUT", "decode", "labels", "reference"]
OUTPUT = "vector"
ROWS = 1024  # queries that are compared at once


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    """Rank each item's passage among the distinct ones of all items; equals count against it."""
    passages: dict[str, np.ndarray] = {}
    for item, raw in zip(items, raws, strict=True):
        if raw["passage"] is not None:
            passages.setdefault(item["target"], raw["passage"])
    place = {target: number for number, target in enumerate(passages)}
    among = _unit(list(passages.values()))  # (passages, width)
    found = []
    for at in range(0, len(items), ROWS):
        chosen = raws[at : at + ROWS]
        queries = _unit([raw["query"] for raw in chosen])
        alike = queries @ among.T if passages else queries[:, :0]
        for item, raw, row in zip(items[at : at + ROWS], chosen, alike, strict=True):
            own = None if raw["passage"] is None else place[item["target"]]
            found.append(_decode(raw, row, own))
    return found


def _decode(raw: Any, alike: Any, own: int | None) -> Prediction:
    """alike: (passages,), cosines; own: the number of the passage that is to be found."""
    answer = {"vector": np.asarray(raw["query"], dtype=np.float64).tolist()}
    if own is None:
        return Prediction(0, 1.0, answer)
    rank = int((~(alike < alike[own])).sum())  # what cannot be compared counts against it, too
    return Prediction(rank, float(1 + alike[own]) / 2, answer | {"rank": rank})


def _unit(vectors: list[np.ndarray]) -> np.ndarray:
    """Vectors as rows of length 1."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths: np.ndarray = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9))
