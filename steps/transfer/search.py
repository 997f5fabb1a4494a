"""A search of a recipe's knobs by Optuna, on validation alone.

Trials are chosen by tree-structured Parzen estimators (Bergstra et al. 2011, "Algorithms for
Hyper-Parameter Optimization"); one whose best epoch so far is below the median of the others at
that epoch is pruned (Golovin et al. 2017, "Google Vizier", the median rule). What is known of them
is in SQLite, and a trial's chance comes from the seed and the number of those before it: a search
that was killed goes on, and ends as it would have.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from steps.core.entry import StepError
from steps.core.params import Knob, Recipe, Search, Section, check, choose
from steps.transfer.strategies import Diverged, Material, strategy

FILE = "search.db"
WARM = 1  # epochs in which no trial is pruned: the first says little while rates still rise
FIXED = ("strategy", "start", "checkpoint_minutes")  # nothing to search for
Train = Callable[[Recipe, Material], float]  # trains one seed; its score on validation


def search(
    recipe: Recipe, name: str, material: Material, train: Train
) -> tuple[Recipe, dict[str, Any] | None]:
    """Return the recipe with the best knobs in place of its own, and what the search found.

    The first trial has the recipe's own knobs, where the search may try them. No trial's weights
    are kept.
    """
    if recipe.search is None:
        return recipe, None
    check_search(recipe, f"recipes.{name}")
    if material.score is None or not material.validation:
        raise StepError(f"recipes.{name} has a `search`, and there are no validation examples")
    trials = Trials(recipe, recipe.search, material.room)
    while (number := len(trials.finished)) < recipe.search.trials:
        room = material.room / f"trial-{number}"
        trials.take(number, replace(material, room=room, made={}), train)
        shutil.rmtree(room, ignore_errors=True)
        print(f"{name}: trial {number + 1} of {recipe.search.trials}: {trials}", flush=True)
    best = trials.best
    if not math.isfinite(best.value):
        raise StepError(f"recipes.{name}: no trial of its search has a score; lower the knobs")
    figures = {"trials": number, "pruned": sum(map(_pruned, trials.finished))}
    return _with(recipe, best.params), figures | {"best": best.params, "score": best.value}


def check_search(recipe: Recipe, where: str) -> None:
    """StepError where the strategy has no such knob, or does not take what is to be tried."""
    settings: type[Section] = strategy(recipe.strategy).Settings
    known = {name: field for name, field in settings.model_fields.items() if name not in FIXED}
    for name, knob in (recipe.search.knobs if recipe.search else {}).items():
        choose(name, known, f"knob (in {where}.search.knobs)")
        for value in knob.among or (knob.low, knob.high):
            check(settings, recipe.knobs | {name: value}, f"{where}.search.knobs")


def _with(recipe: Recipe, knobs: dict[str, Any]) -> Recipe:
    """Return the recipe with other knobs, which are no longer searched for."""
    return Recipe(**recipe.model_dump(exclude={"search"}) | knobs)


@dataclass
class Trials:
    """The trials of a search, in a database in `room`."""

    recipe: Recipe
    wanted: Search
    room: Path

    def __post_init__(self) -> None:
        import optuna
        from sqlalchemy.pool import NullPool

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.room.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///{self.room / FILE}"
        self.study = optuna.create_study(
            storage=optuna.storages.RDBStorage(address, engine_kwargs={"poolclass": NullPool}),
            study_name="search",
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=WARM),
        )

    def __str__(self) -> str:
        last = self.finished[-1]
        knobs = ", ".join(f"{name} {_short(value)}" for name, value in last.params.items())
        end = f"pruned after epoch {last.last_step + 1}" if _pruned(last) else f"{last.value:.4f}"
        return f"{knobs}: {end} (best {self.best.value:.4f})"

    @property
    def finished(self) -> list[Any]:
        """In their order; what a kill has cut short is none of them."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED)
        found: list[Any] = self.study.get_trials(deepcopy=False, states=states)
        return found

    @property
    def best(self) -> Any:
        """The first trial of the best score."""
        whole = [trial for trial in self.finished if not _pruned(trial)]
        return max(whole, key=lambda trial: trial.value)

    def take(self, number: int, material: Material, train: Train) -> None:
        """Train a trial, unless one before it had the same knobs."""
        import optuna

        trial, heard = self._ask(number)

        def told(epoch: int, score: float) -> None:
            if epoch not in heard:  # where a strategy trains more than once, its first training
                trial.report(score, epoch)
                heard.add(epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        if same := next((one for one in self.finished if one.params == trial.params), None):
            self._repeat(trial, heard, same)
            return
        try:
            score = train(_with(self.recipe, trial.params), replace(material, told=told))
            self.study.tell(trial, -math.inf if math.isnan(score) else score)
        except optuna.TrialPruned:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except Diverged:
            self.study.tell(trial, -math.inf)

    def _ask(self, number: int) -> tuple[Any, set[int]]:
        """Begin a trial; it goes on with the epochs that were heard of before a kill."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        chance = int(np.random.default_rng([self.wanted.seed, number]).integers(2**32))
        self.study.sampler = TPESampler(seed=chance, constant_liar=False)
        cut = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if number == 0 and not waiting and (own := self._own()):
            self.study.enqueue_trial(own)
        trial = self.study.ask(self._space())
        heard = {step: score for one in cut for step, score in one.intermediate_values.items()}
        for step, score in heard.items():
            trial.report(score, step)
        for one in cut:
            self.study.tell(one.number, state=TrialState.FAIL)
        return trial, set(heard)

    def _repeat(self, trial: Any, heard: set[int], same: Any) -> None:
        """Let a trial become what the one with the same knobs became."""
        for step in sorted(set(same.intermediate_values) - heard):
            trial.report(same.intermediate_values[step], step)
        value = None if _pruned(same) else same.value
        self.study.tell(trial, value, state=same.state)

    @property
    def _settings(self) -> type[Section]:
        found: type[Section] = strategy(self.recipe.strategy).Settings
        return found

    def _own(self) -> dict[str, Any]:
        """The recipe's own values of the knobs; none where one of them is not to be tried."""
        whole = self._settings.model_validate(self.recipe.knobs)
        own = {name: getattr(whole, name) for name in self.wanted.knobs}
        return own if all(_tries(self.wanted.knobs[name], own[name]) for name in own) else {}

    def _space(self) -> dict[str, Any]:
        """Whole numbers are tried where the strategy takes no others."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        space: dict[str, Any] = {}
        for name, knob in self.wanted.knobs.items():
            kind = self._settings.model_fields[name].annotation
            if knob.among:
                space[name] = CategoricalDistribution(knob.among)
            elif float in (kind, *get_args(kind)):
                space[name] = FloatDistribution(knob.low, knob.high, log=knob.log)
            else:
                space[name] = IntDistribution(knob.low, knob.high, log=knob.log)
        return space


def _tries(knob: Knob, value: Any) -> bool:
    if knob.among:
        return value in knob.among
    return bool(knob.low <= value <= knob.high)


def _pruned(trial: Any) -> bool:
    return bool(trial.state.name == "PRUNED")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
