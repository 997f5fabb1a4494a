"""From resampled scores to an interval and a p-value.

Over items the interval is BCa (Efron 1987, doi:10.1080/01621459.1987.10478410). The variance
between seeds joins it as another, independent part: of an asymmetric interval and a standard error
by MOVER (Zou and Donner 2008, doi:10.1002/sim.3095), and of few seeds by Student's t, whose
degrees of freedom are Welch's and Satterthwaite's (1946, doi:10.2307/3002019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from steps.judge.values import Array

POWER = 0.8  # of the minimum detectable effect
NORMAL = NormalDist()
LEAST = 1e-6  # of a divisor that one item far out would turn below zero


class Spread(NamedTuple):
    """What a mean over seeds owes to the seeds: its `variance`, and the one `observed`, which holds
    items' chance too; both of the mean, with their degrees of freedom.
    """

    variance: float
    observed: float
    freedom: int

    def times(self, weight: float) -> "Spread":
        """Of the mean times a weight."""
        return Spread(self.variance * weight**2, self.observed * weight**2, self.freedom)


@dataclass(frozen=True)
class Estimate:
    """`reach` is the quantile that the standard errors `items_sd` and `seeds_sd` were taken by."""

    value: float
    low: float
    high: float
    p: float
    items_sd: float
    seeds_sd: float
    reach: float

    @property
    def sd(self) -> float:
        """Standard error of the value."""
        return float(np.hypot(self.items_sd, self.seeds_sd))


def spread(seeds: Array, resampled: Array) -> Spread:
    """Variance of a mean over seeds that is not items' chance.

    `seeds` (seeds,) are the scores on all items, `resampled` (resamples, seeds) those on resamples:
    how seeds move against their mean there is what items alone do to their differences.
    """
    many = len(seeds)
    if many < 2:
        return Spread(0.0, 0.0, 1)
    against = resampled - resampled.mean(axis=1, keepdims=True)
    noise = float(against.var(axis=0).sum()) / (many - 1)
    observed = float(seeds.var(ddof=1))
    return Spread(max(0.0, observed - noise) / many, observed / many, many - 1)


def estimate(
    value: float, draws: Array, without: Array, spreads: Sequence[Spread], confidence: float
) -> Estimate:
    """Interval and p-value of a sum of means over seeds.

    `draws` (resamples,) is it on resamples of items, `without` (items,) it without each item.
    """
    shape, sd = _shape(value, draws, without), float(draws.std())
    seeds = sum(one.variance for one in spreads)
    freedom = _freedom(sd, len(without), spreads)
    z = quantile((1 + confidence) / 2)
    reach = student(freedom, (1 + confidence) / 2)
    low, high = _bca(draws, shape, z) if sd > 0 else (value, value)
    below, above = (
        reach * float(np.hypot(max(0.0, part) / z, seeds**0.5))
        for part in (value - low, high - value)
    )
    p = _p(value, float(np.hypot(_sd_to_zero(value, draws, shape, sd), seeds**0.5)), freedom)
    p = p if value == 0 else max(p, 1 / (len(draws) + 1))
    return Estimate(value, value - below, value + above, p, sd, seeds**0.5, reach)


def quantile(share: float) -> float:
    """Quantile of the normal distribution."""
    return NORMAL.inv_cdf(share)


def student(freedom: float, share: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


class _Shape(NamedTuple):
    """BCa's two numbers."""

    bias: float
    acceleration: float


def _shape(value: float, draws: Array, without: Array) -> _Shape:
    bias = quantile(_share_below(draws, value))
    turned = without.mean() - without
    square = float((turned**2).sum())
    return _Shape(bias, float((turned**3).sum()) / (6 * square**1.5) if square else 0.0)


def _share_below(draws: Array, value: float) -> float:
    """Share of draws below a value, half of those on it; never none and never all."""
    share = ((draws < value).sum() + (draws == value).sum() / 2) / len(draws)
    edge = 1 / (len(draws) + 1)
    return float(np.clip(share, edge, 1 - edge))


def _bca(draws: Array, shape: _Shape, z: float) -> tuple[float, float]:
    ends = (shape.bias - z, shape.bias + z)
    levels = [
        NORMAL.cdf(shape.bias + end / max(LEAST, 1 - shape.acceleration * end)) for end in ends
    ]
    low, high = np.quantile(draws, levels)
    return float(low), float(high)


def _sd_to_zero(value: float, draws: Array, shape: _Shape, sd: float) -> float:
    """The standard error that puts BCa's limit on zero; the plain one where no draw is there."""
    share = _share_below(draws, 0.0)
    if min(share, 1 - share) * len(draws) < 1:
        return sd
    off = quantile(share) - shape.bias
    z = off / max(LEAST, 1 + shape.acceleration * off) - shape.bias
    return -value / z if z * value < 0 else sd


def _freedom(sd: float, items: int, spreads: Sequence[Spread]) -> float:
    parts = [(sd**2, sd**2, items - 1)]
    parts += [(*one,) for one in spreads if one.variance > 0]
    total = sum(variance for variance, _, _ in parts)
    below = sum(observed**2 / max(1, freedom) for _, observed, freedom in parts)
    return max(1.0, total**2 / below) if below else float(max(1, items - 1))


def _p(value: float, sd: float, freedom: float) -> float:
    from scipy.special import stdtr

    if value == 0:
        return 1.0
    return 2 * float(stdtr(freedom, -abs(value) / sd)) if sd else 0.0
