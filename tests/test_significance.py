"""Families of comparisons, and the exact test, with answers worked out by hand."""

import numpy as np
import pytest

from steps.judge.metrics import METRICS
from steps.judge.significance import holm, judged, mcnemar, said
from steps.judge.values import Array

ACCURACY = METRICS["accuracy"]


def counts(right: Array) -> Array:
    """(seeds, items) of 0 and 1 as accuracy's statistics."""
    return np.stack([right, np.ones_like(right)], axis=-1).astype(float)


def test_holm_is_as_in_the_textbook() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({}) == {}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_what_is_shown_alone_need_not_be_shown_among_many() -> None:
    rows = [{"p": 0.03, "difference": 0.1}, *({"p": 0.5, "difference": -0.1} for _ in range(9))]
    alone, among = (judged(some, 0.95)[0] for some in (rows[:1], rows))
    assert (alone["verdict"], alone["p_holm"]) == ("promote", 0.03)
    assert (among["verdict"], among["p_holm"]) == ("inconclusive", pytest.approx(0.3))
    assert said(-0.1, 0.01, 0.95) == "refuse"


def test_mcnemar_is_the_binomial_test_of_the_items_that_differ() -> None:
    a, b = np.ones((1, 20)), np.ones((1, 20))
    b[0, :8], a[0, 19] = 0, 0
    found = mcnemar(counts(a), counts(b), ACCURACY)
    assert found is not None
    assert (found.only_a, found.only_b) == (8, 1)
    assert found.p == pytest.approx(2 * (1 + 9) / 2**9, abs=1e-6)


def test_mcnemar_of_several_seeds_is_twice_the_median() -> None:
    a, b = np.ones((3, 20)), np.ones((3, 20))
    for seed, wrong in enumerate((2, 8, 10)):
        b[seed, :wrong] = 0
    found = mcnemar(counts(a), counts(b), ACCURACY)
    assert found is not None
    assert found.only_a == 8
    assert found.p == pytest.approx(2 * 2 / 2**8, abs=1e-6)


def test_mcnemar_of_candidates_alike_tells_nothing_apart() -> None:
    right = np.ones((2, 20))
    assert mcnemar(counts(right), counts(right), ACCURACY) == (0, 0, 1.0)


def test_mcnemar_is_for_items_that_are_right_or_wrong() -> None:
    shares = np.full((1, 20), 0.5)
    assert mcnemar(counts(shares), counts(shares), METRICS["rouge_l"]) is None
    assert mcnemar(counts(shares), counts(shares), METRICS["mae"]) is None
