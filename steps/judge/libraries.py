"""The metrics once more, by scikit-learn and seqeval: what numpy must equal."""

from collections.abc import Sequence

from steps.judge.metrics import Values, spans

Spans = Sequence[tuple[int, int, str]]


def library_score(name: str, references: Values, predictions: Values) -> float:
    """Score one list of predictions by the library that the field takes for a metric."""
    if name == "span_f1":
        return _span_f1(references, predictions)
    from sklearn.metrics import accuracy_score, f1_score

    if name == "accuracy":
        return float(accuracy_score(references, predictions))
    return float(f1_score(references, predictions, average="macro", zero_division=0.0))


def tags(found: Spans, length: int) -> list[str]:
    """Write spans that do not overlap as one IOB2 tag per character."""
    row = ["O"] * length
    for start, end, label in found:
        row[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return row


def _span_f1(references: Values, predictions: Values) -> float:
    """Strict IOB2 over characters, which is exact agreement of spans."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    truth, said = [], []
    for reference, prediction in zip(references, predictions, strict=True):
        one, other = sorted(spans(reference)), sorted(spans(prediction))
        length = max((end for _, end, _ in (*one, *other)), default=1)
        truth.append(tags(one, length))
        said.append(tags(other, length))
    if not any(tag != "O" for row in (*truth, *said) for tag in row):
        return 0.0  # seqeval fails where there is no span at all
    return float(f1_score(truth, said, mode="strict", scheme=IOB2, zero_division=0))
