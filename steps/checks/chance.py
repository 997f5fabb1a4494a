"""How far apart two sets are, and how far apart chance alone would put them.

Each figure comes with the p-value of a permutation test: records change sides, and those of one
group (a document) change together, for they are alike on whatever side they are. So the level holds
where a test that takes records for independent raises false alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]
LEAST = 50  # records a side below which nothing is told
ORDERS = 200  # ways to change sides below which no p-value is small enough
SHUFFLES = 999
LEVEL = 0.05


@dataclass(frozen=True)
class Distance:
    """A figure; `by_chance`: what it stays below 19 times in 20 where nothing differs.

    `why`: why nothing can be told, where it can't; there is no p-value then.
    """

    value: float | None
    p: float | None = None
    by_chance: float | None = None
    why: str = ""

    @property
    def shown(self) -> bool:
        """Whether it is more than chance makes of it, this test alone."""
        return self.p is not None and self.p <= LEVEL


class Sides:
    """Records of two sides, `then` before `now`, each with the name of its group."""

    def __init__(self, then: Sequence[str], now: Sequence[str], seed: int) -> None:
        self.then, self.now, self.seed = len(then), len(now), seed
        self.groups = np.unique([*then, *now], return_inverse=True)[1]  # (records,)
        self.side = np.repeat([0, 1], [self.then, self.now])
        # A group with records on both sides is one on each: what changes sides stays one-sided
        self.movers = np.unique(2 * self.groups + self.side, return_inverse=True)[1]

    @cached_property
    def why(self) -> str:
        """Why nothing can be told; nothing where it can."""
        if min(self.then, self.now) < LEAST:
            return f"{self.then} and {self.now} texts are too few to tell; it takes {LEAST} a side"
        movers = [len(set(self.movers[self.side == side])) for side in (0, 1)]
        if math.comb(sum(movers), movers[0]) < ORDERS:
            return f"texts of {movers[0]} and {movers[1]} groups are too few groups to tell"
        return ""

    @cached_property
    def shuffled(self) -> npt.NDArray[np.float32]:
        """Sides as they are and after each shuffle, (1 + SHUFFLES, records), 1 for now."""
        sides = np.zeros(self.movers.max() + 1, np.float32)
        sides[self.movers] = self.side
        draw = np.random.default_rng(self.seed)
        moved = draw.permuted(np.tile(sides, (SHUFFLES, 1)), axis=1)
        return np.concatenate([sides[None], moved])[:, self.movers]

    def distance(self, values: Numbers) -> Distance:
        """Judge a figure by its value under each shuffle, (1 + SHUFFLES,), as it is first."""
        if self.why:
            return Distance(round(float(values[0]), 6), why=self.why)
        as_much = int((values[1:] >= values[0] - 1e-9).sum())
        return Distance(
            round(float(values[0]), 6),
            round((1 + as_much) / len(values), 6),
            round(float(np.quantile(values[1:], 1 - LEVEL)), 6),
        )

    def auc(self, scores: Numbers, at: npt.NDArray[np.intp] | None = None) -> Numbers:
        """How well scores under each shuffle, (1 + SHUFFLES, records), tell its sides apart.

        Area under the ROC curve, of some of the records; 0.5 where a shuffle leaves one side empty.
        """
        from scipy.stats import rankdata

        sides = self.shuffled if at is None else self.shuffled[:, at]
        ranks = rankdata(scores if at is None else scores[:, at], axis=1)
        now = sides.sum(axis=1)
        then = sides.shape[1] - now
        above = (ranks * sides).sum(axis=1) - now * (now + 1) / 2
        pairs = now * then
        return np.divide(above, pairs, out=np.full(len(sides), 0.5), where=pairs > 0)

    def gap(self, values: Sequence[float]) -> Distance:
        """Largest gap between the cumulative distributions (Kolmogorov and Smirnov)."""
        found = np.asarray(values, np.float64)
        order = np.argsort(found, kind="stable")
        last = np.append(np.diff(found[order]) > 0, True)  # of equal values
        now = np.cumsum(self.shuffled[:, order], axis=1, dtype=np.float64)  # whole numbers: exact
        then = np.arange(1, len(order) + 1) - now
        gaps = np.abs(now / now[:, -1:] - then / then[:, -1:])
        return self.distance(gaps[:, last].max(axis=1))

    def variation(self, counts: Numbers) -> Distance:
        """Total variation between the sides' shares of names; counts: (records, names)."""
        now = (self.shuffled @ counts).astype(np.float64)
        then = counts.sum(axis=0) - now
        return self.distance(np.abs(_share(now) - _share(then)).sum(axis=1) / 2)


def drawn(records: int, most: int, seed: int) -> list[int]:
    """Places of the records that are looked at: all, or so many of them."""
    if records <= most:
        return list(range(records))
    found = np.random.default_rng(seed).choice(records, most, replace=False)
    return sorted(int(place) for place in found)


def _share(numbers: Numbers) -> Numbers:
    """Rows that add up to 1."""
    return numbers / np.maximum(numbers.sum(axis=1, keepdims=True), 1)
