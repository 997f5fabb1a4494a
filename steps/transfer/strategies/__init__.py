"""Strategies, plug-in point 3: a name -> the module that keeps the promises below.

    Settings                          the recipe's knobs, a frozen Section
    READS_START                       whether it starts from a checkpoint
    seeded(settings)                  whether another seed gives another candidate
    OUTPUTS                           the outputs (steps.tasks.OUTPUTS) that it can learn to give
    fit(material, settings, start, seed, out) -> figures    train, and save into the folder `out`
    load(start, weights) -> Scorer                  what `fit` saved in `weights`, ready to score

and where it needs them

    copy_start(checkpoint, out)       `prepare` copies what is read by this, where no checkpoint is
    gather(settings, supplies, out)   `prepare` puts into `out` what more is read beside the start
    COMPARED = True                   a recipe must name the one `without` it
    LEVELS                            the levels of units (steps.tasks) that it is for
    BUILT_ON                          other strategies whose code it runs

Heavy libraries are imported inside the functions: `prepare` reads Settings alone.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import Field

from steps.core.candidates import AUGMENTED
from steps.core.entry import StepError
from steps.core.params import Params, Recipe, Section, choose
from steps.tasks import Item, task_type

STRATEGIES = {
    "baseline": "steps.transfer.strategies.baseline",
    "features": "steps.transfer.strategies.features",
    "full": "steps.transfer.strategies.full",
    "static": "steps.transfer.strategies.static",
    "fewshot": "steps.transfer.strategies.fewshot",
    "augment": "steps.transfer.strategies.augment",
    "gradual": "steps.transfer.strategies.gradual",
    "lora": "steps.transfer.strategies.lora",
    "multitask": "steps.transfer.strategies.multitask",
    "selftrain": "steps.transfer.strategies.selftrain",
}
T = TypeVar("T")


class Training(Section):
    """What recipes that train by steps have in common; knobs that have a default need not be named.

    `batch_tokens`: of a batch, padding counted. `warmup`: share of the steps. `patience`: epochs
    without a better score on validation that end the training, 0 trains all epochs; the best epoch
    is kept. `class_weights`: rare classes weigh more in the loss, as all together weigh alike.
    """

    strategy: str
    start: str
    learning_rate: float = Field(gt=0)
    epochs: int = Field(ge=1)
    batch_tokens: int = Field(ge=1)
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    patience: int = Field(0, ge=0)
    class_weights: bool = False
    checkpoint_minutes: float = Field(5.0, ge=0)


class Diverged(StepError):
    """The loss became no number; in a search it is a trial without a score."""


@dataclass(frozen=True, eq=False)
class Material:
    """What a candidate is trained on; `task` is the name of its type, `name` its own.

    score: how good values are that were predicted for `validation`; more is better. told: hears
    each epoch and its score. room: where an interrupted training is kept. made: what has been made
    of the examples already, for all seeds.
    """

    task: str
    classes: list[str]
    examples: list[Item]
    max_tokens: int
    validation: list[Item] = field(default_factory=list)
    score: Callable[[list[Any]], float] | None = None
    told: Callable[[int, float], None] = lambda epoch, score: None
    room: Path = Path(".outplant/checkpoints/finetune")
    made: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def type(self) -> ModuleType:
        return task_type(self.task)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Make something, or take it as it was made for another seed."""
        if name not in self.made:
            self.made[name] = make()
        found: T = self.made[name]
        return found

    def judged(self, scorer: "Scorer", batch_size: int = 32) -> float:
        """Score what a scorer says of the validation examples."""
        assert self.score is not None
        raws = scorer(Reading(batch_size), self.validation)
        found = self.type.decode(self.validation, raws, self.classes)
        return self.score([prediction.value for prediction in found])


@dataclass(frozen=True)
class Supplies:
    """What `gather` may take from: the folders of all splits and of all clean corpora.

    held_out: which texts overlap a validation or test text of any task.
    """

    splits: Path
    corpora: Path
    held_out: Callable[[list[str]], list[bool]]


@dataclass(frozen=True)
class Reading:
    """How items are read by a scorer."""

    batch_size: int


Scorer = Callable[[Reading, list[Item]], list[Any]]  # items -> a raw for each (steps.tasks)


def strategy(name: str) -> ModuleType:
    """Load the module of a strategy; StepError lists the strategies there are."""
    return importlib.import_module(choose(name, STRATEGIES, "strategy"))


def left_out(task: str, recipe: Recipe, kind: ModuleType) -> str:
    """Say why a recipe has no candidate for a task, or nothing."""
    if recipe.tasks is not None and task not in recipe.tasks:
        return f"the recipe is for {', '.join(recipe.tasks) or 'no task'}"
    module = strategy(recipe.strategy)
    if why := unable(module, kind):
        raise StepError(
            f"strategy {recipe.strategy!r} {why} as task {task} wants; name the tasks that the"
            " recipe is for, `tasks: [...]`, or take another strategy"
        )
    return ""


def unable(module: ModuleType, kind: ModuleType) -> str:
    """Say what a strategy lacks for a type of task, or nothing."""
    level = getattr(kind, "LEVEL", "")
    if kind.OUTPUT not in module.OUTPUTS:
        return f"gives {', '.join(module.OUTPUTS)}, not {kind.OUTPUT}"
    if level and level not in getattr(module, "LEVELS", (level,)):
        return f"tells nothing of {level}"
    return ""


def require_other(name: str, params: Params) -> None:
    """StepError unless a recipe that adds examples names the one that it must be compared with."""
    recipe = params.recipes[name]
    if not getattr(strategy(recipe.strategy), "COMPARED", False):
        return
    where = f"recipes.{name}"
    if recipe.without is None:
        raise StepError(
            f"{where}: what {recipe.strategy} adds is worth is seen beside the same recipe without"
            " it; name one of the same start, `without: RECIPE`"
        )
    other = choose(recipe.without, params.recipes, f"recipe (in {where}.without)")
    if origin(recipe, params) != origin(other, params):
        raise StepError(
            f"{where}.without: {recipe.without} starts at {other.start}, not at {recipe.start};"
            " name a recipe of the same start"
        )


def origin(recipe: Recipe, params: Params) -> str:
    """The checkpoint that a recipe starts at, without what the stage `augment` put beside it."""
    name = recipe.start.removeprefix(AUGMENTED)
    augmented = recipe.start.startswith(AUGMENTED) and name in params.augmentations
    return params.augmentations[name].start if augmented else recipe.start
