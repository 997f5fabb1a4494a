"""The metrics in numpy equal scikit-learn and seqeval through evaluate, and refuse misuse."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core.entry import StepError
from steps.judge.evaluated import as_evaluate
from steps.judge.metrics import METRICS, compute, metric_for

LABELS = ["a", "b", "c", "d"]
LENGTH = 12


@pytest.fixture(scope="module")
def evaluated() -> dict[str, Any]:
    return {name: as_evaluate(name) for name in METRICS}


pairs = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30
)


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int, str]]:
    """Spans that do not overlap; they may touch, with one label on both sides."""
    cuts = sorted(draw(st.sets(st.integers(0, LENGTH), max_size=6)))
    kept = draw(st.lists(st.booleans(), min_size=len(cuts), max_size=len(cuts)))
    return [
        (start, end, draw(st.sampled_from("ab")))
        for start, end, keep in zip(cuts, cuts[1:], kept, strict=False)
        if keep
    ]


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_label_metrics_equal_scikit_learn(evaluated: dict[str, Any], said: list[Any]) -> None:
    references, predictions = (list(side) for side in zip(*said, strict=True))
    for name in ("macro_f1", "accuracy"):
        found = evaluated[name].compute(references=references, predictions=predictions)[name]
        assert compute(name, references, predictions, LABELS) == pytest.approx(found)


@given(st.lists(st.tuples(spans(), spans()), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_span_f1_equals_strict_seqeval(evaluated: dict[str, Any], said: list[Any]) -> None:
    references, predictions = (list(side) for side in zip(*said, strict=True))
    found = evaluated["span_f1"].compute(references=references, predictions=predictions)
    assert compute("span_f1", references, predictions, []) == pytest.approx(found["span_f1"])


def test_a_label_that_is_nowhere_in_the_sample_does_not_count() -> None:
    assert compute("macro_f1", ["a", "b"], ["a", "b"], LABELS) == 1.0


def test_a_label_that_is_only_predicted_counts_as_zero() -> None:
    assert compute("macro_f1", ["a", "a"], ["a", "b"], LABELS) == pytest.approx((2 / 3 + 0) / 2)


def test_a_span_with_one_wrong_bound_is_wrong() -> None:
    assert compute("span_f1", [[(0, 4, "a")]], [[(0, 3, "a")]], []) == 0.0


def test_spans_may_be_dicts_or_triples() -> None:
    as_dicts = [[{"start": 0, "end": 4, "label": "a"}]]
    assert compute("span_f1", as_dicts, [[[0, 4, "a"]]], []) == 1.0


def test_no_span_at_all_scores_zero() -> None:
    assert compute("span_f1", [[], []], [[], []], []) == 0.0


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(StepError, match=r"'z'.*a, b, c, d"):
        compute("macro_f1", ["a"], ["z"], LABELS)


def test_a_metric_of_another_task_type_is_refused() -> None:
    with pytest.raises(StepError, match=r"classification.*span_f1"):
        metric_for("macro_f1", "tokens")


def test_a_misspelt_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(StepError, match="did you mean 'macro_f1'"):
        metric_for("macro_f2", "classification")
