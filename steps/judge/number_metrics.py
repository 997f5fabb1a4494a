"""Scores of numbers: correlation from added-up products, and the mean error."""

from collections.abc import Sequence

import numpy as np

from steps.core.entry import StepError
from steps.judge.values import Array, Values, counted

CONSTANT = 1e-12  # a variance of so small a share of the squares is what rounding leaves of none


def products(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 6) for Pearson's r: 1, x, y, xx, yy, xy.

    Both sides are first given mean 0 and variance 1 over the whole sample: r stays the same, and
    sums keep their digits.
    """
    return _products(_numbers(references), _numbers(predictions))


def rank_products(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return what `products` does, of ranks, those that are alike sharing their mean rank.

    Ranks are taken once, over the whole sample, and resamples and slices keep them: else no sums
    would do. On the whole sample it is Spearman's rho itself.
    """
    return _products(_ranks(_numbers(references)), _ranks(_numbers(predictions)))


def correlation(sums: Array) -> Array:
    """Pearson's r from the sums of `products`; 0 where either side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    of_x, of_y = n * xx - x * x, n * yy - y * y
    varied = (of_x > CONSTANT * n * xx) & (of_y > CONSTANT * n * yy)
    spread = np.sqrt(np.where(varied, of_x * of_y, 1.0))
    return np.where(varied, np.clip((n * xy - x * y) / spread, -1.0, 1.0), 0.0)


def absolute_error(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2): absolute error, counted."""
    return counted(np.abs(_numbers(references) - _numbers(predictions)))


def _numbers(values: Values) -> Array:
    found = np.array([float(value) for value in values])
    if not np.isfinite(found).all():
        raise StepError(
            f"{int((~np.isfinite(found)).sum())} of {len(found)} scores are not finite numbers; "
            "train with a lower learning_rate, or mend the examples"
        )
    return found


def _products(x: Array, y: Array) -> Array:
    x, y = _standard(x), _standard(y)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _standard(values: Array) -> Array:
    if not len(values) or values.min() == values.max():
        return np.zeros_like(values)
    standard: Array = (values - values.mean()) / values.std()
    return standard


def _ranks(values: Array) -> Array:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = np.cumsum(counts) - (counts - 1) / 2
    return ranks[places]
