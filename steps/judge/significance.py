"""Several comparisons at once, as of slices, and the exact test of items right or wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from steps.core.params import Judge
from steps.judge.bootstrap import Resamples
from steps.judge.metrics import Metric
from steps.judge.values import Array, rounded

K = TypeVar("K")
RIGHT_OR_WRONG = (
    "accuracy",
    "macro_f1",
    "exact_match",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
)


def holm(ps: Mapping[K, float]) -> dict[K, float]:
    """p-values of a family as if each were alone (Holm 1979): the smallest times their number."""
    adjusted: dict[K, float] = {}
    most = 0.0
    for place, key in enumerate(sorted(ps, key=lambda one: ps[one])):
        most = max(most, min(1.0, ps[key] * (len(ps) - place)))
        adjusted[key] = most
    return adjusted


def judged(rows: Sequence[dict[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """Add `p_holm` over these rows, and the `verdict` by it; a row has `p` and `difference`."""
    family = holm({place: float(row["p"]) for place, row in enumerate(rows)})
    return [
        row | {"p_holm": rounded(p), "verdict": said(row["difference"], p, confidence)}
        for row, p in zip(rows, (family[place] for place in range(len(rows))), strict=True)
    ]


def said(difference: float, p: float, confidence: float) -> str:
    """The verdict of a difference by its p-value: promote, refuse or inconclusive."""
    if p > 1 - confidence or difference == 0:
        return "inconclusive"
    return "promote" if difference > 0 else "refuse"


def by_slice(
    places: Mapping[str, Mapping[str, Sequence[int]]],
    a: Array,
    b: Array,
    metric: Metric,
    judge: Judge,
) -> list[dict[str, Any]]:
    """Compare a with b, (seeds, items, k) counts, on each slice: kind -> slice -> its items."""
    rows = []
    for kind, name, at in ((k, n, list(at)) for k, of in places.items() for n, at in of.items()):
        drawn = Resamples({"a": a[:, at], "b": b[:, at]}, metric, judge)
        scores = {side: rounded(drawn.points[side]) for side in ("a", "b")}
        row = {"kind": kind, "slice": name, "items": len(at)} | scores
        rows.append(row | drawn.paired("a", "b").numbers())
    return judged(rows, judge.confidence)


class McNemar(NamedTuple):
    """How many items a alone and b alone has right, and the exact p-value, two-sided."""

    only_a: float
    only_b: float
    p: float


def mcnemar(a: Array, b: Array, metric: Metric) -> McNemar | None:
    """Exact McNemar test of two candidates' (seeds, items, k) counts; None where an item can be
    more than right or wrong.

    Seeds are paired as they stand. Of several pairs p is twice their median, which holds whatever
    ties them (Vovk and Wang 2020, doi:10.1093/biomet/asaa027); the numbers of items are medians.
    It tests items alone, so that what a seed changes is no part of it.
    """
    one, other = (metric.score(counts) for counts in (a, b))  # (seeds, items)
    whole = all(np.isin(scores, (0, 1)).all() for scores in (one, other))
    if metric.name not in RIGHT_OR_WRONG or not whole:
        return None
    from scipy.special import bdtr

    pairs = []
    for x, y in zip(one, other, strict=False):
        more, less = int((x > y).sum()), int((x < y).sum())
        tail = float(bdtr(min(more, less), more + less, 0.5)) if more + less else 1.0
        pairs.append(McNemar(more, less, min(1.0, 2 * tail)))
    only_a, only_b, p = (float(value) for value in np.median(pairs, axis=0))
    return McNemar(only_a, only_b, rounded(min(1.0, 2 * p if pairs[1:] else p)))
