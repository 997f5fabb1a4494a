"""The gate decides on facts alone."""

from dataclasses import replace

import pytest

from pipelines.gate import Difference, Facts, decide
from steps.core.params import GateParams

GATE = GateParams(baseline="baseline", min_metric=0.3, slice_margin=0.1)
BETTER = Difference("promote", 0.05, 0.01, 0.09)
UNCLEAR = Difference("inconclusive", 0.01, -0.02, 0.04)
WORSE = Difference("refuse", -0.05, -0.09, -0.01)
GOOD = Facts("full", "macro_f1", 0.5, True, BETTER, BETTER, {"source a": (0.5, 0.4)})


def test_a_challenger_that_meets_every_clause_is_promoted():
    found = decide(GATE, GOOD)
    assert found.verdict == "promote"
    assert all(clause.passed for clause in found.clauses)


@pytest.mark.parametrize(
    ("change", "clause", "verdict"),
    [
        ({"score": 0.29}, "minimum metric", "refuse"),
        ({"data_valid": False}, "data validation", "refuse"),
        ({"baseline": WORSE}, "baseline", "refuse"),
        ({"baseline": UNCLEAR}, "baseline", "inconclusive"),
        ({"champion": WORSE}, "champion", "refuse"),
        ({"champion": UNCLEAR}, "champion", "inconclusive"),
        ({"champion": "it cannot be compared: other labels"}, "champion", "refuse"),
        ({"slices": {"source a": (0.5, 0.4), "source b": (0.3, 0.41)}}, "slices", "refuse"),
    ],
)
def test_one_clause_that_does_not_hold_keeps_the_champion(change, clause, verdict):
    found = decide(GATE, replace(GOOD, **change))
    assert found.verdict == verdict
    assert [one.name for one in found.clauses if not one.passed] == [clause]


def test_a_baseline_that_wins_need_not_beat_itself():
    found = decide(GATE, replace(GOOD, recipe="baseline", baseline=None))
    assert found.verdict == "promote"
    assert "found the winner is the baseline" in str(found.clauses[2])


def test_the_first_champion_has_nobody_to_beat():
    assert decide(GATE, replace(GOOD, champion=None, slices={})).verdict == "promote"


def test_a_refusal_outweighs_what_is_undecided():
    assert decide(GATE, replace(GOOD, champion=UNCLEAR, data_valid=False)).verdict == "refuse"


def test_a_slice_may_lose_exactly_the_margin():
    assert decide(GATE, replace(GOOD, slices={"length short": (0.4, 0.5)})).verdict == "promote"


LOSS = replace(GOOD, metric="perplexity", score=0.25, better=-1, slices={"source a": (30.0, 30.1)})


def test_of_a_loss_the_limit_is_the_most_it_may_be():
    found = decide(GATE, LOSS)
    assert found.verdict == "promote"
    assert "maximum metric: expected perplexity <= 0.3, found 0.250" in str(found.clauses[0])
    assert decide(GATE, replace(LOSS, score=0.31)).verdict == "refuse"


def test_of_a_loss_a_slice_is_worse_where_it_is_higher():
    assert decide(GATE, replace(LOSS, slices={"source a": (30.2, 30.0)})).verdict == "refuse"
    better = replace(LOSS, slices={"source a": (20.0, 30.0), "source b": (30.05, 30.0)})
    found = decide(GATE, better).clauses[4]
    assert found.passed
    assert found.found.startswith("source b")  # the worst


def test_each_clause_says_expected_and_found_in_one_line():
    for clause in decide(GATE, replace(GOOD, champion=UNCLEAR)).clauses:
        assert "expected" in str(clause)
        assert "found" in str(clause)
        assert "\n" not in str(clause)
    assert "inconclusive: +0.010 [-0.020, +0.040]" in str(clause_of("champion"))


def clause_of(name: str):
    clauses = decide(GATE, replace(GOOD, champion=UNCLEAR)).clauses
    return next(clause for clause in clauses if clause.name == name)


CLEAN = replace(GOOD, slices={})


@pytest.mark.parametrize(
    ("clean", "clause", "verdict"),
    [
        (CLEAN, None, "promote"),
        (replace(CLEAN, baseline=UNCLEAR), "baseline, clean items", "inconclusive"),
        (replace(CLEAN, champion=WORSE), "champion, clean items", "refuse"),
        (replace(CLEAN, score=0.2), "minimum metric, clean items", "refuse"),
        (replace(CLEAN, baseline="nothing known"), "baseline, clean items", "inconclusive"),
        ("3 of 90, fewer than judge.min_slice", "clean items", "inconclusive"),
    ],
)
def test_what_is_claimed_must_hold_on_clean_items_alone(clean, clause, verdict):
    found = decide(GATE, replace(GOOD, clean=clean))
    assert found.verdict == verdict
    assert [one.name for one in found.clauses if not one.passed] == ([clause] if clause else [])


def test_clean_items_do_not_save_a_claim_that_fails_on_all():
    assert decide(GATE, replace(GOOD, baseline=WORSE, clean=CLEAN)).verdict == "refuse"
