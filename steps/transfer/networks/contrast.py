"""Pairs of examples, and an encoder that learns which of them are of one class.

The loss is Sentence-BERT's for similar sentences (Reimers and Gurevych 2019, arXiv:1908.10084, 3):
the squared distance of a pair's cosine from 1 for one class, from 0 for two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Pair:
    """Two examples, by their numbers; `size`: their tokens."""

    left: int
    right: int
    same: bool
    size: int


def pairs(classes: np.ndarray, sizes: Sequence[int], most: int, seed: int) -> list[Pair]:
    """All pairs of one class, at most so many of each, and as many with another class.

    classes: (examples,) numbers. A class of one example has no pair, but one with another.
    """
    random = np.random.default_rng(seed)
    found = []
    for number in np.unique(classes):
        own, others = np.flatnonzero(classes == number), np.flatnonzero(classes != number)
        left, right = np.triu_indices(len(own), 1)
        chosen = np.sort(random.permutation(len(left))[:most])
        found += [(own[left[n]], own[right[n]], True) for n in chosen]
        count = max(1, len(chosen)) if len(others) else 0
        found += [(random.choice(own), random.choice(others), False) for _ in range(count)]
    return [Pair(int(a), int(b), same, sizes[a] + sizes[b]) for a, b, same in found]


class Siamese(nn.Module):
    """Trains the encoder of a network of units on pairs of the rows it has made."""

    def __init__(self, network: nn.Module, rows: Sequence[Any]) -> None:
        super().__init__()
        self.network, self.rows = network, rows

    def collate(self, chosen: Sequence[Pair]) -> dict[str, Tensor]:
        """Each example of the batch is read once, however many pairs it is in."""
        numbers = sorted({number for pair in chosen for number in (pair.left, pair.right)})
        place = {number: at for at, number in enumerate(numbers)}
        batch: dict[str, Tensor] = self.network.collate([self.rows[n] for n in numbers])
        batch.pop("targets")
        batch["left"] = torch.tensor([place[pair.left] for pair in chosen])
        batch["right"] = torch.tensor([place[pair.right] for pair in chosen])
        batch["same"] = torch.tensor([float(pair.same) for pair in chosen])
        return batch

    def forward(self, left: Tensor, right: Tensor, same: Tensor, **batch: Tensor) -> Tensor:
        """Mean loss over pairs."""
        vectors = self.network.vectors(batch).float()
        cosines = functional.cosine_similarity(vectors[left], vectors[right])
        return functional.mse_loss(cosines, same)
