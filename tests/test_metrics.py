"""The metrics in numpy equal their libraries', and refuse misuse."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics as seqeval

from steps.core.entry import StepError
from steps.judge.evaluated import as_evaluate
from steps.judge.libraries import LIBRARIES, library_score
from steps.judge.metrics import METRICS, compute, metric_for
from steps.tasks import tokens

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


def several(references: Any, predictions: Any = None) -> st.SearchStrategy[list[Any]]:
    """References and predictions of up to eight items; of one kind unless two are given."""
    other = references if predictions is None else predictions
    return st.lists(st.tuples(references, other), min_size=1, max_size=8)


def assert_equal(name: str, said: list[Any]) -> None:
    """Ours and the library's give one number."""
    references, predictions = (list(side) for side in zip(*said, strict=True))
    theirs = library_score(name, references, predictions)
    assert compute(name, references, predictions, LABELS) == pytest.approx(theirs, abs=1e-9)


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


lists = st.lists(st.sampled_from(LABELS), unique=True, max_size=3).map(sorted)
numbers = st.integers(-20, 20).map(lambda n: n / 4)
WORDS = (
    "the",
    "The",
    "cats",
    "cat",
    "running",
    "runs.",
    "can't",
    "A",
    "3,000.5",
    "über",
    "猫",
    "-",
)
texts = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
answers = st.lists(texts, max_size=3)
generated = st.builds(
    lambda text, loss, words: {"text": text, "loss": loss, "words": words},
    *(texts, st.floats(0, 400), st.integers(1, 40)),
)
ranks = st.integers(1, 30)


@given(several(lists))
@settings(max_examples=30, deadline=None)
def test_scores_of_several_labels_equal_scikit_learn(said: list[Any]) -> None:
    assert_equal("micro_f1", said)
    assert_equal("macro_f1", said)


@given(several(numbers))
@settings(max_examples=60, deadline=None)
def test_scores_of_numbers_equal_scipy_and_scikit_learn(said: list[Any]) -> None:
    for name in ("pearson", "spearman", "mae"):
        assert_equal(name, said)


@given(several(spans()))
@settings(max_examples=30, deadline=None)
def test_tag_accuracy_equals_scikit_learn(said: list[Any]) -> None:
    assert_equal("tag_accuracy", said)


@given(several(answers, texts))
@settings(max_examples=100, deadline=None)
def test_scores_of_answers_equal_the_plain_loop(said: list[Any]) -> None:
    assert_equal("exact_match", said)
    assert_equal("answer_f1", said)


@given(several(texts))
@settings(max_examples=80, deadline=None)
def test_scores_of_translations_equal_sacrebleu(said: list[Any]) -> None:
    assert_equal("bleu", said)
    assert_equal("chrf", said)


@given(several(texts))
@settings(max_examples=25, deadline=None)
def test_scores_of_summaries_equal_rouge_score(said: list[Any]) -> None:
    for name in ("rouge_1", "rouge_2", "rouge_l"):
        assert_equal(name, said)


@given(several(texts, generated))
@settings(max_examples=30, deadline=None)
def test_scores_of_generation_equal_the_plain_loop_and_rouge_score(said: list[Any]) -> None:
    assert_equal("perplexity", said)
    assert_equal("rouge_l", said)


@given(several(texts, ranks))
@settings(max_examples=30, deadline=None)
def test_scores_of_ranks_equal_the_plain_loop(said: list[Any]) -> None:
    for name in ("recall_at_1", "recall_at_5", "recall_at_10", "mrr"):
        assert_equal(name, said)


SAID: dict[str, tuple[list[Any], list[Any]]] = {  # a reference and a prediction of each type
    "classification": (["a", "b"], ["a", "a"]),
    "sentiment": (["a", "b"], ["a", "a"]),
    "pairs": (["a", "b"], ["a", "a"]),
    "multilabel": ([["a"], []], [["a", "b"], []]),
    "regression": ([0.5, 2.0], [0.25, 1.0]),
    "tokens": ([[[0, 4, "a"]], []], [[[0, 4, "a"]], []]),
    "tags": ([[[0, 4, "a"]], []], [[[0, 4, "b"]], []]),
    "question_answering": ([["the cat", "a dog"], []], ["cats", ""]),
    "translation": (["the cat sat", "on the mat"], ["the cat sat", "on a mat"]),
    "summarisation": (["the cat sat", "on the mat"], ["the cat sat", "on a mat"]),
    "generation": (["the cat", "a dog"], [{"text": "the", "loss": 3.5, "words": 2}] * 2),
    "retrieval": (["the cat", "a dog"], [1, 7]),
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, metric in METRICS.items() for kind in metric.types]
)
def test_evaluate_takes_the_values_of_every_type(name: str, kind: str) -> None:
    references, predictions = SAID[kind]
    found = as_evaluate(name, kind).compute(references=references, predictions=predictions)
    assert found[name] == pytest.approx(compute(name, references, predictions, LABELS))


def test_every_metric_has_its_library() -> None:
    assert LIBRARIES.keys() == METRICS.keys()


@pytest.mark.parametrize(
    ("truth", "said", "f1"),
    [
        ("B-a I-a O B-b", "B-a I-a O B-b", 1),
        ("B-a I-a O B-b", "I-a I-a O I-b", 1),  # I- without B- begins a span
        ("B-a I-a I-a", "B-a O I-a", 0),  # a span in two pieces is two wrong ones
        ("B-a I-a O O", "B-a I-b O O", 0),  # another label begins another span
        ("B-a B-a", "B-a I-a", 0),  # two spans side by side are not one
        ("B-a I-a O B-a", "B-a O O B-a", 1 / 2),  # one of two, and one of two
        ("B-a O B-b O", "B-a O B-b B-b", 4 / 5),  # two of three, two of two
        ("O O", "I-a O", 0),
    ],
)
def test_spans_are_scored_by_the_definition(truth: str, said: str, f1: float) -> None:
    """Conlleval's, of whole spans with their labels, as seqeval has it."""
    classes = ["O", "B-a", "I-a", "B-b", "I-b"]
    item = {"text": " ".join("wxyz"[: len(truth.split())])}
    values = []
    for tags in (truth, said):
        shares = np.eye(len(classes))[[classes.index(tag) for tag in tags.split()]]
        values.append(tokens.decode([item], [shares], classes)[0].value)
    assert compute("span_f1", values[:1], values[1:], ["a", "b"]) == pytest.approx(f1)
    theirs = seqeval.f1_score([truth.split()], [said.split()], zero_division=0)
    assert theirs == pytest.approx(f1)


@pytest.mark.parametrize(
    ("answers", "said", "exact", "f1"),
    [
        (["the \"Great 'Wall'\" of China"], "great wall of china", 1, 1),  # nested quotes
        (["“Wall”"], "Wall", 0, 0),  # only ASCII punctuation is left out
        (["the Theory of A. N. Other"], "theory of n other", 1, 1),  # "A." is an article by then
        (["a cat", "an old cat"], "The OLD cat!", 1, 1),  # the best of several
        (["an old cat"], "old dog", 0, 0.5),
        (["Paris"], "in Paris, Paris", 0, 0.5),  # a word counts as often as both have it
        (["rock 'n' roll"], "rock n roll", 1, 1),
        (["o'clock"], "o clock", 0, 0),
        (["co-operate"], "cooperate", 1, 1),
        ([], "", 1, 1),  # unanswerable, and nothing said
        ([], "the", 1, 1),  # no word that counts
        ([], "Paris", 0, 0),
        (["Paris"], "", 0, 0),
        (["the", "Paris"], "", 0, 0),  # an answer of articles alone is none
        (["the"], "", 1, 1),
    ],
)
def test_answers_are_scored_by_the_definition(
    answers: list[str], said: str, exact: float, f1: float
) -> None:
    for score in (compute, lambda *values: library_score(*values[:3])):
        assert score("exact_match", [answers], [said], []) == exact
        assert score("answer_f1", [answers], [said], []) == pytest.approx(f1)


def test_bleu_is_zero_without_a_common_word_and_smoothed_without_a_common_run() -> None:
    assert compute("bleu", ["a b c d e"], ["v w x y z"], []) == 0
    # one word of four is right; then 1/2 of 3, 1/4 of 2, 1/8 of 1
    expected = (1 / 4 * 1 / 6 * 1 / 8 * 1 / 8) ** (1 / 4)
    assert compute("bleu", ["a b c d"], ["a x y z"], []) == pytest.approx(expected)
    assert compute("bleu", ["a b c"], ["a b c"], []) == 0  # no run of four words at all


def test_a_short_translation_pays_for_its_brevity() -> None:
    long, short = "a b c d e f g h", "a b c d e f"
    assert compute("bleu", [long], [short], []) == pytest.approx(2.718281828 ** (1 - 8 / 6))


def test_rouge_reads_stems_and_the_order_of_words() -> None:
    assert compute("rouge_1", ["the cats were running"], ["cat run was the"], []) == 0.75
    assert compute("rouge_l", ["a b c d"], ["d a x c"], []) == 0.5
    assert compute("rouge_2", ["a"], ["a"], []) == 0


def test_one_label_in_use_makes_no_second_class_of_those_that_lack_it() -> None:
    references, predictions = [[], []], [[], ["a"]]
    for name in ("micro_f1", "macro_f1"):
        assert compute(name, references, predictions, LABELS) == 0
        assert library_score(name, references, predictions) == 0


def test_perplexity_is_by_word_over_all_texts() -> None:
    said = [{"text": "", "loss": loss, "words": words} for loss, words in ((6.0, 2), (2.0, 6))]
    assert compute("perplexity", ["", ""], said, []) == pytest.approx(2.718281828)


@pytest.mark.parametrize("said", [{"loss": None, "words": 3}, {"loss": float("inf"), "words": 3}])
def test_perplexity_without_a_loss_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(StepError, match="perplexity needs the loss"):
        compute("perplexity", [""], [said | {"text": ""}], [])


def test_a_rank_begins_with_one() -> None:
    with pytest.raises(StepError, match="a rank is 0"):
        compute("mrr", ["x"], [0], [])


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(StepError, match="1 of 2 scores are not finite"):
        compute("mae", [1.0, 2.0], [1.0, float("nan")], [])


def test_constant_predictions_correlate_with_nothing() -> None:
    for name in ("pearson", "spearman"):
        assert compute(name, [0.1, 0.2, 0.3], [0.1, 0.1, 0.1], []) == 0
        assert compute(name, [1e9 + n for n in range(4)], [1e-9 * n for n in range(4)], []) == 1


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
