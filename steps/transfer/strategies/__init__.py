"""Strategies, plug-in point 3: a name -> the module that keeps the promises below.

    Settings                          the recipe's knobs, a frozen Section
    READS_START                       whether it starts from a checkpoint
    SEEDED                            whether another seed gives another candidate
    fit(material, settings, start, seed, out)       train, and save into the folder `out`
    load(start, weights) -> Scorer                  what `fit` saved in `weights`, ready to score

Heavy libraries are imported inside the functions: `prepare` reads Settings alone.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from steps.core.params import choose

STRATEGIES = {
    "baseline": "steps.transfer.strategies.baseline",
    "features": "steps.transfer.strategies.features",
    "full": "steps.transfer.strategies.full",
}


@dataclass(frozen=True, eq=False)
class Material:
    """What a candidate is trained on; `type` is a module of steps.tasks."""

    type: ModuleType
    classes: list[str]
    examples: list[dict[str, Any]]
    max_tokens: int


@dataclass(frozen=True)
class Reading:
    """How texts are read by a scorer."""

    type: ModuleType
    classes: list[str]
    max_tokens: int
    batch_size: int


Scorer = Callable[[Reading, list[str]], list[np.ndarray]]  # a text -> (units, classes)


def strategy(name: str) -> ModuleType:
    """Load the module of a strategy; StepError lists the strategies there are."""
    return importlib.import_module(choose(name, STRATEGIES, "strategy"))
