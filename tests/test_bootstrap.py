"""Intervals and verdicts with known answers."""

from math import sqrt

import numpy as np
import pytest

from steps.core.entry import StepError
from steps.core.params import Judge
from steps.judge.bootstrap import Resamples, interval, paired, verdict
from steps.judge.calibration import calibration, corrects
from steps.judge.libraries import library_score
from steps.judge.metrics import METRICS, stack
from steps.judge.slices import slice_values, slices
from steps.judge.values import Array
from tests.rivals import JUDGE

ACCURACY = METRICS["accuracy"]
QUICK = Judge(resamples=400, confidence=0.95, min_slice=20, seed=5)


def counts(right: Array) -> Array:
    """(seeds, items) of 0 and 1 as accuracy's statistics."""
    return np.stack([right, np.ones_like(right)], axis=-1).astype(float)


def test_two_candidates_with_the_same_predictions_differ_by_nothing() -> None:
    right = np.array([[1.0, 0, 1, 1, 0] * 20])
    found = paired(counts(right), counts(right), ACCURACY, JUDGE)
    assert (found.difference, found.low, found.high, found.sd) == (0, 0, 0, 0)
    assert found.probability_better == 0.5
    assert verdict(found) == "inconclusive"


def test_pairing_shows_what_two_intervals_hide() -> None:
    b = np.array([[1.0] * 50 + [0.0] * 50])
    a = b.copy()
    a[0, 50:58] = 1  # right wherever b is, and on eight items more
    one, other = (interval(counts(side), ACCURACY, JUDGE) for side in (a, b))
    assert one.low < other.high
    found = paired(counts(a), counts(b), ACCURACY, JUDGE)
    assert found.difference == pytest.approx(0.08)
    assert verdict(found) == "promote"
    assert verdict(paired(counts(b), counts(a), ACCURACY, JUDGE)) == "refuse"


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    right = np.array([[1.0] * 300 + [0.0] * 100])
    found = interval(counts(right), ACCURACY, JUDGE)
    assert found.value == 0.75
    assert found.sd == pytest.approx(sqrt(0.75 * 0.25 / 400), rel=0.1)
    assert found.low == pytest.approx(0.75 - 1.96 * found.sd, abs=0.01)


def test_seeds_that_disagree_widen_the_interval_as_much_as_they_should() -> None:
    """Seeds without item noise: the variance of their mean is s^2 / S, for as few as three."""
    right = np.zeros((3, 1000))
    for seed, share in enumerate((0.4, 0.5, 0.6)):
        right[seed, : int(1000 * share)] = 1
    items_only = interval(counts(right.mean(axis=0)[None]), ACCURACY, JUDGE)
    found = interval(counts(right), ACCURACY, JUDGE)
    assert found.sd**2 - items_only.sd**2 == pytest.approx(0.1**2 / 3, rel=0.15)


def test_the_interval_is_bca_as_scipy_has_it() -> None:
    from scipy.stats import bootstrap

    scores = np.random.default_rng(5).exponential(1.0, 60)  # skewed: the plain percentiles differ
    judge = Judge(resamples=20_000, confidence=0.95, min_slice=20, seed=5)
    found = interval(counts_of(scores[None]), METRICS["mae"], judge)
    random = np.random.default_rng(0)
    theirs = bootstrap((scores,), np.mean, n_resamples=20_000, method="BCa", rng=random)
    widened = found.sd * (2.001 / 1.960 - 1) * 1.96  # ours is Student's with 59 degrees of freedom
    assert found.low == pytest.approx(theirs.confidence_interval.low - widened, abs=0.01)
    assert found.high == pytest.approx(theirs.confidence_interval.high + widened, abs=0.02)


@pytest.mark.parametrize("far", [50.0, -50.0])
def test_one_item_far_out_leaves_an_interval_around_the_value(far: float) -> None:
    scores = np.concatenate([np.random.default_rng(10).normal(0, 0.01, 39), [far]])
    found = interval(counts_of(scores[None]), METRICS["mae"], JUDGE)
    assert -50 < found.low <= found.value <= found.high < 50
    both = paired(counts_of(scores[None]), counts_of(np.zeros((1, 40))), METRICS["mae"], JUDGE)
    assert 0 < both.p <= 1
    assert verdict(both) == "inconclusive"


def test_with_one_seed_items_alone_are_judged() -> None:
    draw = np.random.default_rng(6)
    a, b = ((draw.random((1, 300)) < share).astype(float) for share in (0.8, 0.6))
    one = paired(counts(a), counts(b), ACCURACY, JUDGE)
    same = paired(counts(np.repeat(a, 3, 0)), counts(np.repeat(b, 3, 0)), ACCURACY, JUDGE)
    assert one.numbers() == same.numbers()  # seeds that say the same add nothing
    assert verdict(one) == "promote"


def test_seeds_that_differ_by_chance_of_items_alone_are_not_counted_again() -> None:
    """Three seeds whose answers are drawn alike: the interval is that of the items, nearly."""
    draw = np.random.default_rng(7)
    wider = []
    for _ in range(60):
        right = (draw.random((3, 400)) < 0.7).astype(float)
        both = interval(counts(right), ACCURACY, QUICK).sd
        wider.append(both / (right.mean(axis=0).std() / 20))
    assert 1.0 <= np.median(wider) < 1.1


def test_more_items_settle_what_items_leave_open_and_nothing_settles_what_seeds_do() -> None:
    draw = np.random.default_rng(8)
    a, b = ((draw.random((1, 200)) < share).astype(float) for share in (0.65, 0.6))
    found = paired(counts(a), counts(b), ACCURACY, JUDGE)
    assert found.items_needed is not None
    assert found.items_needed > 200
    times = 1 + found.items_needed // 200
    more = paired(counts(np.tile(a, times)), counts(np.tile(b, times)), ACCURACY, JUDGE)
    assert verdict(more) == "promote"
    apart = np.zeros((3, 200))
    for seed, right in enumerate((60, 120, 180)):
        apart[seed, :right] = 1
    assert paired(counts(apart), counts(b), ACCURACY, JUDGE).items_needed is None


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_pairs_alike_are_promoted_in_a_fortieth_whatever_seeds_do(spread: float) -> None:
    draw = np.random.default_rng(9)
    found = []
    for _ in range(400):
        ease = draw.normal(0.8, 3, 200)
        shifts = draw.normal(0, spread, (2, 3, 1))
        sides = (draw.random((2, 3, 200)) < 1 / (1 + np.exp(-ease - shifts))).astype(float)
        found.append(verdict(paired(counts(sides[0]), counts(sides[1]), ACCURACY, QUICK)))
    assert found.count("promote") / 400 <= 0.025 + 2 * sqrt(0.025 * 0.975 / 400)
    assert found.count("refuse") / 400 <= 0.025 + 2 * sqrt(0.025 * 0.975 / 400)


def test_the_detectable_effect_is_found_about_eight_times_in_ten() -> None:
    draw = np.random.default_rng(1)
    items, found, detectable = 400, 0, 0.12
    for _ in range(100):
        a, b = draw.random((1, items)) < 0.5 + detectable, draw.random((1, items)) < 0.5
        said = paired(counts(a.astype(float)), counts(b.astype(float)), ACCURACY, QUICK)
        found += said.low > 0
        assert said.detectable == pytest.approx(2.8 * sqrt(0.486 / items), rel=0.15)
    assert 0.8 <= found / 100 <= 1


def test_same_seed_same_numbers_whatever_else_is_compared() -> None:
    draw = np.random.default_rng(2)
    a, b = ((draw.random((3, 80)) < 0.6).astype(float) for _ in range(2))
    first, again = (paired(counts(a), counts(b), ACCURACY, JUDGE) for _ in range(2))
    assert first == again


def test_candidates_of_other_items_are_refused() -> None:
    with pytest.raises(StepError, match="same items"):
        Resamples({"a": np.ones((1, 5, 2)), "b": np.ones((1, 6, 2))}, ACCURACY, JUDGE)


def test_of_a_loss_the_lower_one_is_better() -> None:
    draw = np.random.default_rng(3)
    high = draw.uniform(2, 4, (1, 200))
    low = high - draw.uniform(0.5, 1.5, (1, 200))
    found = paired(counts_of(low), counts_of(high), METRICS["mae"], JUDGE)
    assert found.difference == pytest.approx(float((high - low).mean()))
    assert verdict(found) == "promote"
    assert verdict(paired(counts_of(high), counts_of(low), METRICS["mae"], JUDGE)) == "refuse"
    assert found.probability_better > 0.999
    assert interval(counts_of(low), METRICS["mae"], JUDGE).value == pytest.approx(low.mean())


def test_numbers_that_are_no_counts_are_added_without_rounding() -> None:
    a = np.full((1, 200), 1000.001)
    found = paired(counts_of(a), counts_of(a - 0.001), METRICS["mae"], JUDGE)
    assert (found.low, found.high) == pytest.approx((-0.001, -0.001), rel=1e-6)


def counts_of(scores: Array) -> Array:
    """(seeds, items) as the statistics of a mean."""
    return np.stack([scores, np.ones_like(scores)], axis=-1)


@pytest.mark.parametrize("name", ["pearson", "bleu", "chrf", "macro_f1"])
def test_a_resample_scores_as_the_items_that_it_holds(name: str) -> None:
    draw = np.random.default_rng(4)
    metric = METRICS[name]
    if name == "pearson":
        truth = draw.normal(size=30).tolist()
        said = (np.array(truth) + draw.normal(size=30)).tolist()
    else:
        truth = [" ".join(draw.choice(["a", "b", "c"], 6)) for _ in range(30)]
        said = [" ".join(draw.choice(["a", "b", "c"], 6)) for _ in range(30)]
    labels = sorted({*truth, *said}) if name == "macro_f1" else []
    drawn = draw.integers(0, 30, 30)
    weights = np.bincount(drawn, minlength=30)
    ours = metric.score(weights @ metric.statistics(truth, said, labels))
    sample = [[side[at] for at in drawn] for side in (truth, said)]
    assert float(ours) == pytest.approx(library_score(name, sample[0], sample[1]))


def test_where_nothing_is_right_or_wrong_there_is_no_calibration() -> None:
    for kind in ("regression", "translation", "summarisation", "generation", "retrieval"):
        assert corrects(kind, ["a"], [1.0], [1.0]) == []
    assert calibration([0.5], [], bins=10) == {"ece": None, "curve": []}
    assert calibration([], [], bins=10) == {"ece": None, "curve": []}


def test_calibration_of_a_candidate_that_is_too_sure() -> None:
    found = calibration([0.9] * 10, [1.0] * 5 + [0.0] * 5, bins=10)
    assert found["ece"] == pytest.approx(0.4)
    assert found["curve"] == [{"confidence": 0.9, "accuracy": 0.5, "count": 10}]


def test_a_tagging_is_as_right_as_the_share_of_its_words() -> None:
    text = "Call Model.save now"  # words and signs: Call Model . save now
    reference, prediction = [(5, 15, "FUNC")], [(5, 10, "FUNC")]
    assert corrects("tokens", [text], [reference], [prediction]) == [pytest.approx(3 / 5)]
    assert corrects("classification", ["", ""], ["a", "b"], ["a", "a"]) == [1.0, 0.0]
    spans = [(0, 4, "VERB"), (5, 8, "NOUN")]
    assert corrects("tags", ["Call now"], [spans], [[spans[0], (5, 8, "ADV")]]) == [0.5]
    assert corrects("tags", [""], [[]], [[]]) == [1.0]


def test_an_answer_is_right_by_its_words_and_labels_by_what_is_given_and_withheld() -> None:
    asked = [["the cat"], [], ["a dog"]]
    assert corrects("question_answering", ["", "", ""], asked, ["cat", "", "x"]) == [1.0, 1.0, 0.0]
    said = corrects("multilabel", ["", ""], [["a"], ["b"]], [["a", "c"], ["b"]])
    assert said == [pytest.approx(2 / 3), 1.0]


def test_slices_are_scored_apart_and_small_ones_left_out() -> None:
    examples = [{"source": s, "text": "w " * n} for s, n in [("x", 3)] * 4 + [("y", 30)] * 2]
    said = stack(ACCURACY, ["a"] * 6, [["a", "a", "b", "b", "a", "a"]], [])
    found = slices(examples, ["source", "length"], said, ACCURACY, 3)
    assert found == {
        "source": {"x": {"items": 4, "score": 0.5}},
        "length": {"short": {"items": 4, "score": 0.5}},
    }


def test_an_unknown_slice_is_refused() -> None:
    with pytest.raises(StepError, match="did you mean 'source'"):
        slice_values({"source": "x"}, "sorce")
