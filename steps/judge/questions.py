"""What is asked of the winner's model about each of its errors: of which label, and where."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steps.judge.contest import Contest
from steps.judge.values import Value, spans

Asked = tuple[str, tuple[int, int] | None]  # a label, and the characters that it is said of


def questions(contest: Contest, errors: Sequence[Mapping[str, Any]]) -> list[Asked | None]:
    """For each error the label to explain, the wrong one where one was given, else the one that was
    missed; None where a type has no such thing.
    """
    references = contest.references["test"]
    said = contest.candidates[contest.winner].parts["test"]
    values = said.values[said.seeds.index(contest.seed)]
    place = {name: at for at, name in enumerate(references.ids)}
    asked = ASKED.get(references.kind)
    return [
        asked(references.values[at], values[at]) if asked else None
        for at in (place[error["id"]] for error in errors)
    ]


def _of_label(reference: Value, prediction: Value) -> Asked | None:
    return str(prediction), None


def _of_labels(reference: Value, prediction: Value) -> Asked | None:
    extra = sorted(set(prediction) - set(reference))
    missed = sorted(set(reference) - set(prediction))
    return ((extra + missed)[0], None) if extra or missed else None


def _of_spans(reference: Value, prediction: Value) -> Asked | None:
    truth, said = spans(reference), spans(prediction)
    wrong = sorted(said - truth) + sorted(truth - said)
    return (wrong[0][2], wrong[0][:2]) if wrong else None


def _of_answer(reference: Value, prediction: Value) -> Asked | None:
    return str(prediction) or "no answer", None


def _of_number(reference: Value, prediction: Value) -> Asked | None:
    return "the score", None


ASKED: dict[str, Callable[[Value, Value], Asked | None]] = {
    "classification": _of_label,
    "sentiment": _of_label,
    "pairs": _of_label,
    "multilabel": _of_labels,
    "tokens": _of_spans,
    "tags": _of_spans,
    "question_answering": _of_answer,
    "regression": _of_number,
}
