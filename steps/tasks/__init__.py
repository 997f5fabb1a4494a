"""Task types, plug-in point 2: a name -> the module that keeps the promises below.

Every task is a matter of *units* of a text, each of which has one class: the whole text
(classification), or each word (token classification). A module offers

    POOL                          "mean": a unit's vector is the mean of the text's token vectors;
                                  "first": that of the unit's first token
    TFIDF                         whether plain features are weighed by TF-IDF
    labels(examples)              the labels in use, sorted
    reference(example)            what a prediction is compared with: JSON
    classes(labels)               the classes of a unit
    units(text)                   (start, end) of each unit, in characters
    targets(example, classes)     the class number of each unit
    features(text)                {feature: count} of each unit, for plain baselines
    decode(text, probabilities, classes) -> Prediction
"""

import importlib
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from steps.core.params import choose

TASKS = {
    "classification": "steps.tasks.classification",
    "tokens": "steps.tasks.tokens",
}


@dataclass(frozen=True)
class Prediction:
    """`value` is compared with a reference; `answer` is what a user gets.

    confidence: the probability of the class chosen, mean over units; probabilities: of each
    label, where a text has one.
    """

    value: Any
    confidence: float
    answer: dict[str, Any]
    probabilities: list[float] = field(default_factory=list)


def task_type(name: str) -> ModuleType:
    """Load the module of a task type; StepError lists the types there are."""
    return importlib.import_module(choose(name, TASKS, "task type"))
