"""Learning curves: what more labels would buy, by a power law through what fewer labels gave.

error = c + a * labels ** -b, with a score's distance from 1 as its error, or the score itself where
less is better (Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically",
arXiv:1712.00409; what speaks for such laws, and where they fail: Viering and Loog 2022, "The Shape
of Learning Curves: a Review", arXiv:2103.10948). For each b of a grid the best a and c >= 0 are
known (variable projection, Golub and Pereyra 1973, doi:10.1137/0710036), so that the law is fitted
to thousands of resamples at once. A resample draws test items and seeds anew, the same for all
points: a seed is a draw of the labels and of the initial weights. That the law holds is assumed,
and what is said far beyond the last point rests on that alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.core.params import Judge
from steps.judge.bootstrap import drawn
from steps.judge.metrics import Metric
from steps.judge.values import Array, rounded

NEXT = 100  # labels that are to be bought
FAR = 100  # times today's labels: further than that nothing is promised
FEWEST = 3  # points: as many as the law has numbers
FEWER = 0.1  # share of today's error that is to go, where no target is named
RATES = np.geomspace(0.05, 2.0, 200)  # b: 0.07 to 0.35 in Hestness et al.; 1 and more in theory
DRAWN = 60  # points of the drawn curve


@dataclass(frozen=True)
class Curve:
    """Counts of labels, rising, and of each the (seeds, items, k) statistics on the test items."""

    labels: list[int]
    seeds: list[int]
    statistics: list[Array]


@dataclass(frozen=True)
class Laws:
    """Power laws, one for each row of errors: (rows,) each."""

    a: Array
    b: Array
    c: Array

    def errors(self, labels: Sequence[float]) -> Array:
        """(rows, labels)."""
        powers = np.asarray(labels, dtype=np.float64)[None] ** -self.b[:, None]
        found: Array = self.c[:, None] + self.a[:, None] * powers
        return found

    def needed(self, error: float) -> Array:
        """Labels at which the error is reached, (rows,); infinity where it never is."""
        above = np.where(self.a > 0, error - self.c, 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = np.exp(np.log(self.a / above) / self.b)
        return np.where(above > 0, found, np.inf)


def learning(curve: Curve, metric: Metric, judge: Judge, target: float | None) -> dict[str, Any]:
    """Points with intervals, the fitted law (None where the curve does not rise or has too few
    points), what the next labels buy, what a target needs, and the drawn curve with its band.

    `target`: a score; None for a tenth fewer errors than at the last point.
    """
    scores = resampled(curve, metric, judge)  # (resamples, points)
    own = np.stack([metric.score(one.sum(axis=1)) for one in curve.statistics])  # (points, seeds)
    points = [
        {
            "labels": count,
            "mean": rounded(means.mean()),
            **_bounds(draws, judge),
            "seeds": {str(s): rounded(x) for s, x in zip(curve.seeds, means, strict=True)},
        }
        for count, means, draws in zip(curve.labels, own, scores.T, strict=True)
    ]
    found: dict[str, Any] = {"points": points, "fit": None, "next": None, "needed": [], "band": []}
    if len(points) < FEWEST:
        return found
    weights = _weights(scores)
    best = fit(curve.labels, mirrored(own.mean(axis=1)[None], metric), weights)
    laws = fit(curve.labels, mirrored(scores, metric), weights)
    found["next"] = _next(curve.labels[-1], best, laws, judge)
    if best.a[0] <= 0:
        return found
    aim = fewer_errors(own[-1].mean(), metric) if target is None else target
    return found | {
        "fit": {name: rounded(getattr(best, name)[0]) for name in ("a", "b", "c")},
        "needed": [_needed(rounded(aim), metric, curve.labels[-1], (best, laws), judge)],
        "band": _band(curve.labels, metric, best, laws, judge),
    }


def fewer_errors(now: Array, metric: Metric) -> float:
    """The score at which a tenth of the present error is gone."""
    return float(mirrored(mirrored(now, metric) * (1 - FEWER), metric))


def mirrored(values: Array, metric: Metric) -> Array:
    """Errors of scores, and scores of errors: 1 - either, or the same where less is better."""
    return 1 - values if metric.better > 0 else values


def resampled(curve: Curve, metric: Metric, judge: Judge) -> Array:
    """Scores, mean over the seeds drawn: (resamples, points).

    S - 1 of S seeds are drawn: the mean of S draws would vary too little by (S - 1) / S (Rao and
    Wu 1988, doi:10.1080/01621459.1988.10478591).
    """
    every = np.stack(curve.statistics)  # (points, seeds, items, k)
    count, seeds, items, k = every.shape
    flat = np.moveaxis(every, 2, 0).reshape(items, -1)
    draw = np.random.default_rng(judge.seed)
    parts = []
    for weights in drawn(draw, items, judge.resamples):
        scores = metric.score((weights @ flat).reshape(-1, count, seeds, k))
        chosen = draw.integers(0, seeds, size=(len(scores), 1, max(1, seeds - 1)))
        parts.append(np.take_along_axis(scores, chosen, axis=2).mean(axis=2))
    return np.concatenate(parts)


def _weights(scores: Array) -> Array:
    """One over each point's variance, (points,); what is below the median counts as the median.

    All seeds have the same labels at the last point, so that it varies too little.
    """
    variances = scores.var(axis=0)
    middle = np.median(variances)
    return np.ones(len(variances)) if middle == 0 else 1 / np.maximum(variances, middle)


def fit(labels: Sequence[int], rows: Array, weights: Array) -> Laws:
    """Weighted least squares for each row of errors, (rows, points); c >= 0, a of either sign."""
    least = np.full(len(rows), np.inf)
    found = np.zeros((3, len(rows)))
    share = weights / weights.sum()
    last = labels[-1]
    for rate in RATES:
        powers = (np.asarray(labels) / last) ** -rate
        slope, floor = _line(powers, rows, share)
        miss = ((rows - floor[:, None] - slope[:, None] * powers) ** 2) @ share
        better = miss < least
        least = np.where(better, miss, least)
        found[:, better] = np.stack([slope * last**rate, np.full_like(slope, rate), floor])[
            :, better
        ]
    return Laws(*found)


def _line(powers: Array, rows: Array, share: Array) -> tuple[Array, Array]:
    """Slope and floor of rows = floor + slope * powers; a floor below 0 becomes 0."""
    centred = powers - powers @ share
    slope = (rows @ (share * centred)) / (centred**2 @ share)
    floor = rows @ share - slope * (powers @ share)
    alone = (rows @ (share * powers)) / (powers**2 @ share)
    return np.where(floor < 0, alone, slope), np.maximum(floor, 0)


def _next(last: int, best: Laws, laws: Laws, judge: Judge) -> dict[str, Any]:
    """Gain of the next labels, more is better."""
    gain, drawn = (np.subtract(*law.errors([last, last + NEXT]).T) for law in (best, laws))
    return {"labels": NEXT, "gain": rounded(gain[0]), **_bounds(drawn, judge)}


def _needed(
    score: float, metric: Metric, last: int, laws: tuple[Laws, Laws], judge: Judge
) -> dict[str, Any]:
    """Labels for a score; None for what is further than FAR times today's."""
    best, drawn = (law.needed(float(mirrored(np.array(score), metric))) for law in laws)
    ends = np.quantile(drawn, _outside(judge), method="inverted_cdf")  # of numbers, some infinite
    said = {"labels": best[0], "low": ends[0], "high": ends[1]}
    most = FAR * last
    return {"score": score} | {
        name: int(np.ceil(n)) if n <= most else None for name, n in said.items()
    }


def _band(
    labels: Sequence[int], metric: Metric, best: Laws, laws: Laws, judge: Judge
) -> list[dict[str, float]]:
    """The fitted curve with its interval, up to twice today's labels."""
    at = np.unique(np.geomspace(labels[0], 2 * labels[-1], DRAWN).round().astype(int))
    middle, drawn = (mirrored(law.errors(at.tolist()), metric) for law in (best, laws))
    return [
        {"labels": int(n), "mean": rounded(one), **_bounds(many, judge)}
        for n, one, many in zip(at, middle[0], drawn.T, strict=True)
    ]


def _outside(judge: Judge) -> list[float]:
    return [(1 - judge.confidence) / 2, (1 + judge.confidence) / 2]


def _bounds(draws: Array, judge: Judge) -> dict[str, float]:
    low, high = np.quantile(draws, _outside(judge))
    return {"low": rounded(low), "high": rounded(high)}
