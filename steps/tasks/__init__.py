"""Task types, plug-in point 2: a name -> the module that keeps the promises below.

An *item* is a dict with the fields that a task reads; an example is an item with its annotation. A
module offers

    OUTPUT                        what a network gives for an item, a key of OUTPUTS below
    INPUTS                        the fields that are read, in reading order
    labels(examples)              the labels in use, sorted; [] where a task has none
    reference(example)            what a prediction is compared with: JSON
    decode(items, raws, classes)  what a network gave for items -> a Prediction for each

and where the output is classes, labels or number, a row of scores for each *unit* of an item:

    LEVEL                         "text": one unit, the whole; "words": a unit a word
    WEIGHED                       whether plain features are weighed by TF-IDF
    classes(labels)               the classes of a unit
    units(item)                   (start, end) of each, in characters of the last field of INPUTS
    targets(example, classes)     what a network learns: the class number of each unit; a row of
                                  zeros and ones (1, classes); or a number (1, 1). StepError for a
                                  label that is not in classes
    features(item)                {feature: count} of each unit, for plain baselines
"""

import importlib
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from steps.core.entry import StepError
from steps.core.params import choose

TASKS = {
    "classification": "steps.tasks.classification",
    "sentiment": "steps.tasks.sentiment",
    "multilabel": "steps.tasks.multilabel",
    "regression": "steps.tasks.regression",
    "pairs": "steps.tasks.pairs",
    "tokens": "steps.tasks.tokens",
    "tags": "steps.tasks.tags",
    "question_answering": "steps.tasks.question_answering",
    "translation": "steps.tasks.translation",
    "summarisation": "steps.tasks.summarisation",
    "generation": "steps.tasks.generation",
    "retrieval": "steps.tasks.retrieval",
}
OUTPUTS = {
    "classes": "(units, classes): probabilities, one class is right",
    "labels": "(1, classes): probabilities, each for itself",
    "number": "(1, 1)",
    "span": "(candidates, 3): start, end, score; a row (-1, -1, score) is for no answer",
    "text": "a dict: text, confidence; loss and words of the target, where there is one",
    "vector": "a dict: query, and passage where the item has a target, each (width,)",
}
Item = dict[str, Any]


@dataclass(frozen=True)
class Prediction:
    """`value` is compared with a reference; `answer` is what a user gets.

    confidence: the probability of what was chosen, mean over units, and 1 where there is no such
    thing; probabilities: of each class, where a text has one.
    """

    value: Any
    confidence: float
    answer: dict[str, Any]
    probabilities: list[float] = field(default_factory=list)


def task_type(name: str) -> ModuleType:
    """Load the module of a task type; StepError lists the types there are."""
    return importlib.import_module(choose(name, TASKS, "task type"))


def code(name: str) -> list[Path]:
    """The files that a task type's module is made of: its own, and those that it takes from."""
    found: dict[str, Path] = {}
    waiting = [TASKS[name]]
    while waiting:
        module = importlib.import_module(waiting.pop())
        found[module.__name__] = Path(str(module.__file__))
        of = {str(getattr(part, "__module__", "")) for _, part in inspect.getmembers(module)}
        waiting += sorted(of & set(TASKS.values()) - found.keys())
    return [found[module] for module in sorted(found)]


def unseen(example: Item, label: str) -> StepError:
    """What to raise for a label that training does not have."""
    return StepError(
        f"label {label!r} of example {example['id']} is not in training; correct it, or label more"
        " examples of it"
    )
