"""What tests of strategies share: the material of a tiny task, and what a strategy answers."""

from pathlib import Path
from types import ModuleType
from typing import Any

from steps.judge.metrics import compute
from steps.tasks import task_type
from steps.transfer.strategies import Material, Reading
from tests.tiny import EXAMPLES

METRIC = {"classification": "accuracy", "tokens": "span_f1"}


def material(kind: str, room: Path, count: int = 8, **more: Any) -> Material:
    """So many examples of a type, which are validation too."""
    module, examples = task_type(kind), EXAMPLES[kind](count)
    labels = module.labels(examples)
    classes = module.classes(labels) if hasattr(module, "classes") else labels
    metric = METRIC.get(kind)
    references = [module.reference(example) for example in examples]

    def score(values: list[Any]) -> float:
        return compute(str(metric), references, values, labels)

    if metric is not None:
        more = {"score": score} | more
    return Material(kind, classes, examples, 64, examples, room=room, **more)


def answers(module: ModuleType, given: Material, start: Path, weights: Path) -> list[Any]:
    """The values that a strategy predicts for the material's examples."""
    raws = module.load(start, weights)(Reading(32), given.examples)
    return [one.value for one in given.type.decode(given.examples, raws, given.classes)]


def right(task: str, reference: Any) -> Any:
    """What a prediction of that reference looks like."""
    if task == "retrieval":
        return 1
    if task == "question_answering":
        return reference[0] if reference else ""
    return reference


def near(value: Any, expected: Any) -> bool:
    """Whether a value is another; a number is near it."""
    if isinstance(expected, float):
        return bool(abs(value - expected) < 0.1)
    return bool(plain(value) == plain(expected))


def plain(value: Any) -> Any:
    """A value of generation is its text, and what it cost."""
    return value["text"] if isinstance(value, dict) else value


def odd(task: str) -> list[dict[str, Any]]:
    """Texts that nobody writes, in every field that is read."""
    return [dict.fromkeys(task_type(task).INPUTS, text) for text in ("a", "view " * 200, "", "…")]
