"""The metrics as `evaluate.Metric`s, for whoever scores by that library; it imports slowly."""

from typing import Any

import evaluate
from datasets import Features, List, Value

from steps.core.params import choose
from steps.judge.libraries import library_score
from steps.judge.metrics import METRICS, Values, spans

SPAN = {"start": Value("int64"), "end": Value("int64"), "label": Value("string")}
FEATURES = {"classification": Value("string"), "tokens": List(SPAN)}


class Evaluated(evaluate.Metric):  # type: ignore[misc]
    """The metric of METRICS that `config_name` names."""

    def _info(self) -> evaluate.MetricInfo:
        feature = FEATURES[METRICS[self.config_name].type]
        return evaluate.MetricInfo(
            description=self.config_name,
            citation="",
            inputs_description="references and predictions, one value an item",
            features=Features({"references": feature, "predictions": feature}),
        )

    def compute(self, *, references: Values, predictions: Values) -> Any:
        """Take values as the judge has them; evaluate's own features want spans as dicts."""
        if METRICS[self.config_name].type == "tokens":
            references, predictions = _dicts(references), _dicts(predictions)
        return super().compute(references=references, predictions=predictions)

    def _compute(self, references: Values, predictions: Values) -> dict[str, float]:
        return {self.config_name: library_score(self.config_name, references, predictions)}


def as_evaluate(name: str) -> evaluate.Metric:
    """Make a metric of METRICS an `evaluate.Metric`, without a hub, a cache folder or a lock file.

    `.compute(references=values, predictions=values)` returns `{name: float}`.
    """
    return Evaluated(config_name=choose(name, METRICS, "metric").name, keep_in_memory=True)


def _dicts(values: Values) -> list[list[dict[str, Any]]]:
    return [
        [dict(zip(SPAN, span, strict=True)) for span in sorted(spans(value))] for value in values
    ]
