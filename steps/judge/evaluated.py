"""The metrics as `evaluate.Metric`s over scikit-learn and seqeval: what numpy must equal."""

from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, List, Value
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score

from steps.judge.metrics import Values, spans

Spans = Sequence[tuple[int, int, str]]


class Labels(evaluate.Metric):  # type: ignore[misc]
    """A metric of labels; `config_name` is `accuracy` or `macro_f1`."""

    def _info(self) -> evaluate.MetricInfo:
        return _info(self.config_name, Value("string"))

    def _compute(self, references: list[str], predictions: list[str]) -> dict[str, float]:
        if self.config_name == "accuracy":
            return {"accuracy": float(accuracy_score(references, predictions))}
        score = f1_score(references, predictions, average="macro", zero_division=0.0)
        return {"macro_f1": float(score)}


class SpanF1(evaluate.Metric):  # type: ignore[misc]
    """Strict IOB2 evaluation over characters, which is exact agreement of spans."""

    def _info(self) -> evaluate.MetricInfo:
        span = {"start": Value("int64"), "end": Value("int64"), "label": Value("string")}
        return _info("span_f1", List(span))

    def compute(self, *, references: Values, predictions: Values) -> Any:
        """Take spans as the judge has them; evaluate's own features want dicts."""
        return super().compute(references=_dicts(references), predictions=_dicts(predictions))

    def _compute(self, references: Values, predictions: Values) -> dict[str, float]:
        truth, said = [], []
        for reference, prediction in zip(references, predictions, strict=True):
            one, other = sorted(spans(reference)), sorted(spans(prediction))
            length = max((end for _, end, _ in (*one, *other)), default=1)
            truth.append(tags(one, length))
            said.append(tags(other, length))
        if not any(tag != "O" for row in (*truth, *said) for tag in row):
            return {"span_f1": 0.0}  # seqeval fails where there is no span at all
        score = seqeval_f1(truth, said, mode="strict", scheme=IOB2, zero_division=0)
        return {"span_f1": float(score)}


def tags(found: Spans, length: int) -> list[str]:
    """Write spans that do not overlap as one IOB2 tag per character."""
    row = ["O"] * length
    for start, end, label in found:
        row[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return row


def _dicts(values: Values) -> list[list[dict[str, Any]]]:
    names = ("start", "end", "label")
    return [
        [dict(zip(names, span, strict=True)) for span in sorted(spans(value))] for value in values
    ]


def as_evaluate(name: str) -> evaluate.Metric:
    """Make a metric of METRICS an `evaluate.Metric`, without a hub, a cache folder or a lock file.

    `.compute(references=values, predictions=values)` returns `{name: float}`.
    """
    if name == "span_f1":
        return SpanF1(keep_in_memory=True)
    return Labels(config_name=name, keep_in_memory=True)


def _info(name: str, feature: Any) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=name,
        citation="",
        inputs_description="references and predictions, one value an item",
        features=Features({"references": feature, "predictions": feature}),
    )
