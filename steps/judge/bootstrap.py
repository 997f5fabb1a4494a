"""Paired bootstrap over items, with the seeds' variance beside it.

A resample draws the test items with replacement, the same draw for all candidates and all their
seeds (paired). What differs from seed to seed is not resampled with them: crossed resampling
counts the chance of one item under one seed three times over (Owen 2007, doi:10.1214/07-AOAS122),
which at 500 items halves the power. Instead the variance between seeds is estimated, less what
items' chance alone makes of it, and added to that of the items (steps/judge/intervals.py). With one
seed a side what a seed changes is not measured: the verdict is on the two models, not the recipes.

Of pairs that are alike it promotes 2.5% and less whatever their seeds' spread, but for a side with
seeds against one without: 3.7% where three seeds spread by .05, which three cannot tell better. At
500 items it finds five points in nine of ten: `python -m tests.bench.judge`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from steps.core.entry import StepError
from steps.core.params import Judge
from steps.judge.intervals import POWER, Estimate, estimate, quantile, spread
from steps.judge.metrics import Metric
from steps.judge.values import Array, rounded

CHUNK = 4_000_000  # numbers held at once: about 70 MB
EXACT = 2**24  # the most that float32 adds up to by whole numbers without an error
MOST_ITEMS = 10_000_000  # more are as good as never


@dataclass(frozen=True)
class Interval:
    """A score, mean over seeds, with its interval; `sd` is its standard error."""

    value: float
    low: float
    high: float
    sd: float


@dataclass(frozen=True)
class Paired:
    """How much better a scores than b: a - b, or b - a where the metric's less is better.

    `p` is two-sided. `detectable` is the minimum detectable effect: what is found 8 times in 10 at
    this size. `items_needed` is how many items would find this very difference 8 times in 10; None
    where no number of them would, for the seeds differ too much or the difference is nil.
    """

    difference: float
    low: float
    high: float
    sd: float
    p: float
    probability_better: float
    detectable: float
    items_needed: int | None

    def numbers(self) -> dict[str, Any]:
        """As a dict for JSON, rounded."""
        return {
            name: rounded(value) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


NOTHING = Paired(0.0, 0.0, 0.0, 0.0, 1.0, 0.5, 0.0, None)  # a candidate against itself


class Resamples:
    """Scores of several candidates over shared resamples of the same items.

    `statistics` maps a candidate to its (seeds, items, k) counts; k and items are the same for all.
    """

    def __init__(self, statistics: dict[str, Array], metric: Metric, judge: Judge) -> None:
        sizes = {counts.shape[1] for counts in statistics.values()}
        if len(sizes) != 1 or not min(sizes):
            raise StepError(
                f"candidates with {sorted(sizes)} items; compare them on the same items"
            )
        self.metric, self.confidence, self.items = metric, judge.confidence, min(sizes)
        self.statistics = statistics
        self.seeds = {name: metric.score(c.sum(axis=1)) for name, c in statistics.items()}
        self.points = {name: float(scores.mean()) for name, scores in self.seeds.items()}
        scores = _resample(list(statistics.values()), metric, judge.resamples, judge.seed)
        by_seed = dict(zip(statistics, scores, strict=True))  # (resamples, seeds)
        self.scores = {name: found.mean(axis=1) for name, found in by_seed.items()}
        self.spreads = {name: spread(self.seeds[name], found) for name, found in by_seed.items()}

    def interval(self, name: str) -> Interval:
        """Interval of one candidate's score."""
        found = self._estimate({name: 1.0})
        return Interval(self.points[name], found.low, found.high, found.sd)

    def paired(self, a: str, b: str) -> Paired:
        """Compare two candidates."""
        return NOTHING if a == b else self.contrast({a: 1.0, b: -1.0})

    def contrast(self, weights: dict[str, float]) -> Paired:
        """Compare by a weighted sum of candidates' scores, as a mean of differences is one.

        Scores of which less is better are turned first.
        """
        found = self._estimate({name: self.metric.better * w for name, w in weights.items()})
        half = found.p / 2
        return Paired(
            found.value,
            found.low,
            found.high,
            found.sd,
            found.p,
            0.5 if found.value == 0 else half if found.value < 0 else 1 - half,
            (found.reach + quantile(POWER)) * found.sd,
            _items_needed(found, self.items),
        )

    @cached_property
    def _left_out(self) -> dict[str, Array]:
        return {name: _jackknife(c, self.metric) for name, c in self.statistics.items()}

    def _estimate(self, weights: dict[str, float]) -> Estimate:
        def summed(of: dict[str, Any]) -> Any:
            return sum(w * of[name] for name, w in weights.items())

        spreads = [self.spreads[name].times(w) for name, w in weights.items()]
        draws, without = summed(self.scores), summed(self._left_out)
        return estimate(summed(self.points), draws, without, spreads, self.confidence)


def paired(a: Array, b: Array, metric: Metric, judge: Judge) -> Paired:
    """Compare two candidates from their (seeds, items, k) counts of the same items in one order."""
    return Resamples({"a": a, "b": b}, metric, judge).paired("a", "b")


def interval(counts: Array, metric: Metric, judge: Judge) -> Interval:
    """Interval of one candidate's score from its (seeds, items, k) counts."""
    return Resamples({"a": counts}, metric, judge).interval("a")


def point(counts: Array, metric: Metric) -> float:
    """Score on all items, mean over the seeds."""
    return float(metric.score(counts.sum(axis=1)).mean())


def verdict(found: Paired) -> str:
    """Say promote, refuse or inconclusive: zero must lie outside the interval."""
    if found.low > 0:
        return "promote"
    return "refuse" if found.high < 0 else "inconclusive"


def _items_needed(found: Estimate, items: int) -> int | None:
    """Items by which the items' part of the error shrinks to what finds this difference."""
    allowed = abs(found.value) / (found.reach + quantile(POWER))
    room = allowed**2 - found.seeds_sd**2
    if room <= 0:
        return None
    needed = items * found.items_sd**2 / room
    return int(np.ceil(needed)) if needed <= MOST_ITEMS else None


def _resample(counts: list[Array], metric: Metric, resamples: int, seed: int) -> list[Array]:
    """Return (resamples, seeds) scores of each candidate."""
    items = counts[0].shape[1]
    draw = np.random.default_rng(seed)
    flat = np.concatenate(
        [np.moveaxis(c, 1, 0).reshape(items, -1) for c in counts], axis=1
    )  # (items, candidates * seeds * k)
    flat = flat.astype(_exact(flat))
    parts: list[list[Array]] = [[] for _ in counts]
    for weights in drawn(draw, items, resamples):
        sums = np.split(weights.astype(flat.dtype) @ flat, _edges(counts), axis=1)
        for part, own, c in zip(parts, sums, counts, strict=True):
            part.append(metric.score(own.reshape(-1, c.shape[0], c.shape[2]).astype(np.float64)))
    return [np.concatenate(part) for part in parts]


def drawn(
    draw: np.random.Generator, items: int, resamples: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield (chunk, items): how often a resample holds an item."""
    chunk = max(1, CHUNK // items)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        places = draw.integers(0, items, size=(rows, items), dtype=np.int64)
        places += np.arange(rows)[:, None] * items
        counted = np.bincount(places.ravel(), minlength=rows * items)
        yield counted.reshape(rows, items).astype(np.float32)


def _exact(flat: Array) -> type[np.floating[Any]]:
    """The quickest type that adds these up rightly: float32 for counts, float64 for the rest."""
    most = len(flat) * np.abs(flat).max(initial=0)
    return np.float32 if most < EXACT and (flat == np.rint(flat)).all() else np.float64


def _edges(counts: list[Array]) -> list[int]:
    return [int(edge) for edge in np.cumsum([c.shape[0] * c.shape[2] for c in counts])[:-1]]


def _jackknife(counts: Array, metric: Metric) -> Array:
    """Score without each item in turn, (items,), mean over seeds."""
    seeds, items, k = counts.shape
    total, chunk = counts.sum(axis=1, keepdims=True), max(1, CHUNK // (seeds * k))
    parts = [
        metric.score(total - counts[:, at : at + chunk]).mean(axis=0)
        for at in range(0, items, chunk)
    ]
    return np.concatenate(parts)
