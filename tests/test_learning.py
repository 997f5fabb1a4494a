"""Learning curves: the law that is fitted, its intervals, and what is said of it."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from steps.core.params import Judge
from steps.judge.learning import FAR, Curve, fit, learning
from steps.judge.learning_plot import learning_plot
from steps.judge.learning_wording import annotate
from steps.judge.metrics import METRICS

JUDGE = Judge(resamples=400, confidence=0.95, min_slice=20, seed=11)
ACCURACY = METRICS["accuracy"]
LABELS = (50, 100, 200, 300)
Law = tuple[float, float, float]  # a, b, c


def error(law: Law, labels: float) -> float:
    a, b, c = law
    return c + a * labels**-b


def played(
    law: Law, labels: Sequence[int] = LABELS, items: int = 250, seeds: int = 3, chance: int = 0
) -> Curve:
    """A curve that follows a law: seeds differ, and half the items are hard or easy for all."""
    draw = np.random.default_rng(chance)
    hard = draw.random(items)
    found = []
    for count in labels:
        spread = 0.02 * (labels[0] / count) ** 0.5
        wrong = [error(law, count) + draw.normal(0, spread) for _ in range(seeds)]
        own = [np.where(draw.random(items) < 0.5, hard, draw.random(items)) for _ in wrong]
        right = [(at > share).astype(float) for at, share in zip(own, wrong, strict=True)]
        found.append(np.stack([np.stack([one, np.ones(items)], axis=1) for one in right]))
    return Curve(list(labels), list(range(1, seeds + 1)), found)


def told(curve: Curve, target: float | None = None, metric: str = "accuracy") -> dict[str, Any]:
    """What the stage puts into learning.json."""
    found = learning(curve, METRICS[metric], JUDGE, target)
    found |= {"task": "toy", "recipe": "baseline", "metric": metric, "confidence": 0.95}
    found["metric_title"] = METRICS[metric].title
    found["lower_is_better"] = METRICS[metric].better < 0
    return found | {"sentence": annotate(found)}


RISING: Law = (1.9, 0.4, 0.1)
FLAT: Law = (0.0, 1.0, 0.3)


@pytest.mark.parametrize("law", [RISING, (3.0, 0.5, 0.2), (1.2, 0.2, 0.0), (20.0, 1.0, 0.15)])
def test_a_law_is_found_again_in_points_that_lie_on_it(law: Law) -> None:
    errors = np.array([[error(law, count) for count in LABELS]])
    found = fit(LABELS, errors, np.ones(len(LABELS)))
    assert found.errors(LABELS) == pytest.approx(errors, abs=5e-4)
    for beyond in (400, 600):
        assert found.errors([beyond])[0, 0] == pytest.approx(error(law, beyond), abs=1e-3)
    aim = error(law, 400)
    assert found.needed(aim)[0] == pytest.approx(400, rel=0.02)


def test_what_lies_below_the_floor_of_a_law_is_never_reached() -> None:
    errors = np.array([[error(RISING, count) for count in LABELS]])
    assert fit(LABELS, errors, np.ones(len(LABELS))).needed(0.05)[0] == np.inf


@pytest.mark.parametrize("law", [RISING, FLAT])
def test_intervals_hold_the_truth_as_often_as_they_say(law: Law) -> None:
    gain = error(law, 300) - error(law, 400)
    found = [told(played(law, chance=n)) for n in range(60)]
    held = [one["next"]["low"] <= gain <= one["next"]["high"] for one in found]
    assert np.mean(held) >= 0.88
    last = [one["points"][-1] for one in found]
    truth = 1 - error(law, 300)
    assert np.mean([one["low"] <= truth <= one["high"] for one in last]) >= 0.85
    said = ["Labels still pay" in one["sentence"] for one in found]
    assert np.mean(said) == pytest.approx(1.0 if law is RISING else 0.0, abs=0.05)


def test_a_rising_curve_says_what_the_next_labels_buy_and_how_many_are_needed() -> None:
    found = told(played(RISING, items=4000, seeds=5), target=0.73)
    (needed,) = found["needed"]
    truth = (RISING[0] / (0.27 - RISING[2])) ** (1 / RISING[1])
    assert needed["low"] < truth < needed["high"]
    assert found["sentence"].startswith(
        "Should we annotate more? Labels still pay: by a power law through 4 points of baseline, "
        f"the next 100 labels buy +{found['next']['gain']:.3f} accuracy (95% interval +"
    )
    assert f"About {needed['labels']:,} labels are needed for 0.730 accuracy" in found["sentence"]


def test_without_a_target_a_tenth_fewer_errors_is_the_aim() -> None:
    found = told(played(RISING))
    now = found["points"][-1]["mean"]
    assert found["needed"][0]["score"] == pytest.approx(1 - 0.9 * (1 - now), abs=1e-5)


def test_a_score_beyond_reach_is_said_to_be_out_of_reach() -> None:
    found = told(played(RISING), target=0.999)
    assert found["needed"][0]["labels"] is None
    assert f"is not reached within {FAR} times today's 300 labels" in found["sentence"]


@pytest.mark.parametrize(("law", "said"), [(FLAT, "Not shown: "), ((-2.0, 0.5, 0.5), "not rise")])
def test_a_curve_that_does_not_rise_shows_nothing(law: Law, said: str) -> None:
    found = told(played(law, chance=3))
    assert said in found["sentence"]
    assert found["next"]["low"] < 0.0005


def test_two_points_are_too_few_for_a_law() -> None:
    found = told(played(RISING, labels=(50, 100)))
    assert (found["fit"], found["next"], found["needed"]) == (None, None, [])
    assert found["sentence"] == (
        "Should we annotate more? Not shown: a power law needs 3 points or more, and the learning "
        "curve has 2; name more numbers of labels."
    )
    assert "<svg" in learning_plot(found)


def test_one_seed_is_said_to_measure_too_little() -> None:
    found = told(played(RISING, seeds=1))
    assert found["sentence"].endswith("what another draw of labels would change is not measured.")


def test_where_less_is_better_a_falling_score_is_a_gain() -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 0.02, size=(4, 2, 200))
    off = np.array([4 * count**-0.4 for count in LABELS])[:, None, None] + noise
    curve = Curve(list(LABELS), [1, 2], [np.stack([one, np.ones_like(one)], -1) for one in off])
    found = told(curve, metric="mae")
    assert found["next"]["low"] > 0
    assert found["needed"][0]["score"] == pytest.approx(0.9 * found["points"][-1]["mean"], abs=1e-5)
    assert "where lower is better and + is a gain" in found["sentence"]


def test_the_same_predictions_give_the_same_figures() -> None:
    assert told(played(RISING)) == told(played(RISING))
    assert learning_plot(told(played(RISING))) == learning_plot(told(played(RISING)))


def test_the_plot_has_every_point_and_only_the_pages_colours() -> None:
    drawn = learning_plot(told(played(RISING)))
    assert set(re.findall(r"#[0-9a-f]{6}", drawn)) == set()
    for count in (*LABELS, 600):
        assert f">{count}</text>" in drawn
