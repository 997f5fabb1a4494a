"""The metrics as `evaluate.Metric`s, for whoever scores by that library; it imports slowly."""

from typing import Any

import evaluate
from datasets import Features, List, Value

from steps.core.params import choose
from steps.judge.libraries import library_score
from steps.judge.metrics import METRICS, Metric, metric_for
from steps.judge.values import Values, spans

SPAN = {"start": Value("int64"), "end": Value("int64"), "label": Value("string")}
TEXT, NUMBER = Value("string"), Value("float64")
SAID = {"text": TEXT, "loss": NUMBER, "words": Value("int64")}
FEATURES = {  # task type -> of a reference, of a prediction
    "classification": (TEXT, TEXT),
    "sentiment": (TEXT, TEXT),
    "pairs": (TEXT, TEXT),
    "multilabel": (List(TEXT), List(TEXT)),
    "regression": (NUMBER, NUMBER),
    "tokens": (List(SPAN), List(SPAN)),
    "tags": (List(SPAN), List(SPAN)),
    "question_answering": (List(TEXT), TEXT),
    "translation": (TEXT, TEXT),
    "summarisation": (TEXT, TEXT),
    "generation": (TEXT, SAID),
    "retrieval": (TEXT, Value("int64")),
}


class Evaluated(evaluate.Metric):  # type: ignore[misc]
    """A metric of METRICS for values of one task type."""

    def __init__(self, metric: Metric, kind: str) -> None:
        self.kind = kind
        self.meaning = metric.meaning
        super().__init__(config_name=metric.name, keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        reference, prediction = FEATURES[self.kind]
        return evaluate.MetricInfo(
            description=self.meaning,
            citation="",
            inputs_description="references and predictions, one value an item",
            features=Features({"references": reference, "predictions": prediction}),
        )

    def compute(self, *, references: Values, predictions: Values) -> Any:
        """Take values as the judge has them; evaluate's own features want spans as dicts."""
        if FEATURES[self.kind][0] == List(SPAN):
            references, predictions = _dicts(references), _dicts(predictions)
        return super().compute(references=references, predictions=predictions)

    def _compute(self, references: Values, predictions: Values) -> dict[str, float]:
        return {self.config_name: library_score(self.config_name, references, predictions)}


def as_evaluate(name: str, kind: str | None = None) -> evaluate.Metric:
    """Make a metric of METRICS an `evaluate.Metric`, without a hub, a cache folder or a lock file.

    `kind` is the task type that the values are of, the metric's first unless said.
    `.compute(references=values, predictions=values)` returns `{name: float}`.
    """
    metric = choose(name, METRICS, "metric")
    return Evaluated(metric_for(name, kind) if kind else metric, kind or metric.types[0])


def _dicts(values: Values) -> list[list[dict[str, Any]]]:
    return [
        [dict(zip(SPAN, span, strict=True)) for span in sorted(spans(value))] for value in values
    ]
