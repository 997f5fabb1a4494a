"""Metrics as sums over items: a score is a function of added-up statistics, so that any resample of
the items is scored by one matrix product (the paired bootstrap), and equal to what the library of
the field gives. What a value is, by task type: steps.judge.values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.core.params import choose
from steps.judge import answer_metrics as answers
from steps.judge import label_metrics as labelled
from steps.judge import number_metrics as numbers
from steps.judge import rank_metrics as ranks
from steps.judge import span_metrics as marked
from steps.judge import text_metrics as texts
from steps.judge.values import REFERENCES, Array, Values, f1, mean

ONE_LABEL = ("classification", "sentiment", "pairs")


@dataclass(frozen=True)
class Metric:
    """`statistics` gives (items, k) numbers that add up; `score` maps (..., k) to (...).

    `meaning`: one sentence for readers of a report. `better` is -1 where less is better: scores
    stay what they are, and whatever ranks or subtracts them turns them.
    """

    name: str
    title: str
    types: tuple[str, ...]
    statistics: Callable[[Values, Values, Sequence[str]], Array]
    score: Callable[[Array], Array]
    meaning: str
    better: int = 1


_ALL = (
    Metric(
        "accuracy",
        "accuracy",
        ONE_LABEL,
        labelled.accuracy,
        mean,
        "The share of items that are right.",
    ),
    Metric(
        "macro_f1",
        "macro-F1",
        (*ONE_LABEL, "multilabel"),
        labelled.by_label,
        labelled.macro_f1,
        "The mean of the labels' F1: a rare label weighs as much as a frequent one.",
    ),
    Metric(
        "micro_f1",
        "micro-F1",
        ("multilabel",),
        labelled.over_labels,
        f1,
        "F1 of the labels of all items together: a frequent label weighs more than a rare one.",
    ),
    Metric(
        "pearson",
        "Pearson's r",
        ("regression",),
        numbers.products,
        numbers.correlation,
        "How nearly predictions lie on a rising line over the references: 1 on it, 0 anywhere.",
    ),
    Metric(
        "spearman",
        "Spearman's ρ",
        ("regression",),
        numbers.rank_products,
        numbers.correlation,
        "Whether predictions have the references' order; resamples and slices keep the ranks that"
        " items have among all.",
    ),
    Metric(
        "mae",
        "mean absolute error",
        ("regression",),
        numbers.absolute_error,
        mean,
        "How far a prediction is from its reference, in the references' own units.",
        better=-1,
    ),
    Metric(
        "span_f1",
        "span F1",
        ("tokens",),
        marked.span_counts,
        f1,
        "An entity counts only where both its bounds and its label are right.",
    ),
    Metric(
        "tag_accuracy",
        "tag accuracy",
        ("tags",),
        marked.tag_counts,
        mean,
        "The share of words with the right tag.",
    ),
    Metric(
        "exact_match",
        "exact match",
        ("question_answering",),
        answers.exact_matches,
        mean,
        "The share of questions answered in the words of a reference, but for case, punctuation and"
        " articles; to a question without an answer nothing must be said.",
    ),
    Metric(
        "answer_f1",
        "answer F1",
        ("question_answering",),
        answers.answer_f1s,
        mean,
        "F1 of an answer's words against the nearest reference, mean over questions; to a question"
        " without an answer nothing must be said.",
    ),
    Metric(
        "bleu",
        "BLEU",
        ("translation",),
        texts.bleu_counts,
        texts.bleu,
        "Runs of one to four words that targets have too, over all texts together, less a penalty"
        " for brevity (sacreBLEU, 13a), as a share.",
    ),
    Metric(
        "chrf",
        "chrF",
        ("translation",),
        texts.chrf_counts,
        texts.chrf,
        "Runs of one to six characters that predictions and targets share, over all texts together"
        " (chrF2), as a share.",
    ),
    *(
        Metric(
            f"rouge_{name}",
            f"ROUGE-{name.upper()}",
            types,
            texts.rouge(score),
            mean,
            f"F1 of {what} that a text shares with its target (by stems), mean over texts.",
        )
        for name, types, score, what in (
            ("1", ("summarisation",), texts.rouge_1, "the words"),
            ("2", ("summarisation",), texts.rouge_2, "the pairs of neighbouring words"),
            ("l", ("summarisation", "generation"), texts.rouge_l, "the longest sequence of words"),
        )
    ),
    Metric(
        "perplexity",
        "perplexity",
        ("generation",),
        texts.losses,
        texts.perplexity,
        "Among how many words, equally likely, the model seems to choose at each word of a target.",
        better=-1,
    ),
    *(
        Metric(
            f"recall_at_{most}",
            f"recall@{most}",
            ("retrieval",),
            ranks.recall_at(most),
            mean,
            f"The share of queries whose passage is among the first {most} that are found.",
        )
        for most in (1, 5, 10)
    ),
    Metric(
        "mrr",
        "MRR",
        ("retrieval",),
        ranks.reciprocal_ranks,
        mean,
        "Mean of 1 / rank of the right passage: 1 where it always comes first.",
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def metric_for(name: str, kind: str) -> Metric:
    """Look a metric up for a task type; StepError where it does not fit."""
    metric = choose(name, METRICS, "metric")
    if kind not in metric.types:
        fits = ", ".join(sorted(m.name for m in METRICS.values() if kind in m.types))
        meant = ", ".join(metric.types)
        raise StepError(f"metric {name!r} is for {meant} tasks; for {kind} take: {fits}")
    return metric


def compute(name: str, references: Values, predictions: Values, labels: Sequence[str]) -> float:
    """Score one list of predictions; `labels` are the task's, in any order."""
    metric = choose(name, METRICS, "metric")
    return float(metric.score(metric.statistics(references, predictions, labels).sum(axis=0)))


def scorer(
    name: str, kind: str, examples: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> Callable[[Values], float]:
    """How good values are for the examples of a task type; more is better whatever the metric."""
    sign = float(metric_for(name, kind).better)
    references = [REFERENCES[kind](example) for example in examples]
    return lambda values: sign * compute(name, references, values, labels)


def stack(
    metric: Metric, references: Values, seeds: Sequence[Values], labels: Sequence[str]
) -> Array:
    """Return the statistics of several seeds' predictions: (seeds, items, k)."""
    return np.stack([metric.statistics(references, said, labels) for said in seeds])
