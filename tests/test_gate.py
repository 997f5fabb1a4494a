"""The gate decides on facts alone."""

from dataclasses import replace

import pytest

from pipelines.gate import Difference, Facts, Source, decide, moves
from steps.core.params import GateParams

GATE = GateParams(
    baseline="baseline",
    minimum={"changes": 0.3},
    slice_margin=0.1,
    int8_margin=0.0,
    max_ece=0.2,
    max_latency_ms=50,
    max_megabytes=100,
    max_leakage=0.05,
    clean_source=True,
    inconclusive="keep",
)
BETTER = Difference("promote", 0.05, 0.01, 0.09)
UNCLEAR = Difference("inconclusive", 0.01, -0.02, 0.04)
WORSE = Difference("refuse", -0.05, -0.09, -0.01)
FAR_WORSE = Difference("refuse", -0.11, -0.2, -0.01)
GOOD = Facts(
    "changes",
    "full",
    "macro_f1",
    0.5,
    True,
    BETTER,
    BETTER,
    {"source a": BETTER},
    costs={"ece": 0.1, "latency_ms": 20.0, "megabytes": 90.0},
    source=Source("a" * 40),
)


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
        ({"slices": {"source a": BETTER, "source b": FAR_WORSE}}, "slices", "refuse"),
        ({"costs": GOOD.costs | {"ece": 0.21}}, "calibration", "refuse"),
        ({"costs": GOOD.costs | {"latency_ms": 50.1}}, "latency", "refuse"),
        ({"costs": GOOD.costs | {"latency_ms": None}}, "latency", "inconclusive"),
        ({"costs": GOOD.costs | {"megabytes": 101.0}}, "size", "refuse"),
        ({"leakage": 0.06}, "leakage", "refuse"),
        ({"source": Source("a" * 40, ("params.yaml",))}, "clean source", "refuse"),
        ({"source": Source("")}, "clean source", "refuse"),
        ({"baseline": "no predictions"}, "baseline", "inconclusive"),
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


def test_what_has_no_limit_has_no_clause():
    limits = {"max_ece": None, "max_latency_ms": None, "max_megabytes": None, "max_leakage": None}
    free = GATE.model_copy(update=limits | {"clean_source": False, "minimum": {}})
    names = [clause.name for clause in decide(free, replace(GOOD, costs={})).clauses]
    assert names == ["data validation", "baseline", "champion", "slices"]


def test_a_task_without_right_or_wrong_has_nothing_to_calibrate():
    found = decide(GATE, replace(GOOD, costs=GOOD.costs | {"ece": None}))
    assert found.verdict == "promote"


def test_files_that_were_not_committed_are_named():
    found = decide(GATE, replace(GOOD, source=Source("a" * 40, ("params.yaml", "steps/x.py"))))
    assert "found uncommitted: params.yaml, steps/x.py" in str(found.clauses[-1])


@pytest.mark.parametrize(("policy", "moved"), [("keep", False), ("promote", True)])
def test_what_is_inconclusive_moves_the_champion_by_policy_alone(policy, moved):
    gate = GATE.model_copy(update={"inconclusive": policy})
    assert moves(gate, decide(gate, replace(GOOD, champion=UNCLEAR))) is moved
    assert not moves(gate, decide(gate, replace(GOOD, champion=WORSE)))
    assert moves(gate, decide(gate, GOOD))


def test_the_first_champion_has_nobody_to_beat():
    assert decide(GATE, replace(GOOD, champion=None, slices={})).verdict == "promote"


def test_a_refusal_outweighs_what_is_undecided():
    assert decide(GATE, replace(GOOD, champion=UNCLEAR, data_valid=False)).verdict == "refuse"


def test_a_slice_may_be_shown_worse_by_the_margin():
    assert decide(GATE, replace(GOOD, slices={"length short": WORSE})).verdict == "promote"
    strict = GATE.model_copy(update={"slice_margin": 0.0})
    found = decide(strict, replace(GOOD, slices={"length short": WORSE, "source a": FAR_WORSE}))
    assert "found source a and 1 more, refuse: -0.110" in str(found.clauses[4])


def test_a_slice_that_may_be_chance_blocks_nothing():
    noise = Difference("inconclusive", -0.3, -0.7, 0.1)
    found = decide(GATE, replace(GOOD, slices={"length short": noise, "source a": BETTER}))
    assert found.verdict == "promote"
    assert "found at worst length short, inconclusive: -0.300" in str(found.clauses[4])


LOSS = replace(GOOD, metric="perplexity", score=0.25, better=-1)


def test_of_a_loss_the_limit_is_the_most_it_may_be():
    found = decide(GATE, LOSS)
    assert found.verdict == "promote"
    assert "maximum metric: expected perplexity <= 0.3, found 0.250" in str(found.clauses[0])
    assert decide(GATE, replace(LOSS, score=0.31)).verdict == "refuse"


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
