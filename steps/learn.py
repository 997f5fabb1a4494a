"""Stage `learn`: a recipe with fewer labels and fewer -> its learning curve, what more would buy.

    python -m steps.learn SPLITS START PREDICTIONS OUT METRICS PLOT

Each seed shuffles the training examples anew, and each number of labels takes the first of them:
100 labels hold the 50, and seeds differ in their labels as in their initial weights. START is the
recipe's, PREDICTIONS are its candidate's: it has all labels, and is the last point of the curve.
Validation stays whole. A killed run goes on after the last point that it finished.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from steps.core.entry import StepError, run
from steps.core.files import digest, read_json, read_rows, whole, write_json
from steps.core.params import Params, Section, Task, check, choose, load
from steps.judge.learning import Curve, learning
from steps.judge.learning_wording import annotate
from steps.judge.load import References, read_predictions, read_references
from steps.judge.metrics import Metric, metric_for, scorer
from steps.judge.values import Array
from steps.tasks import Item, task_type
from steps.transfer import resume
from steps.transfer.checkpoints import load_weights
from steps.transfer.strategies import Material, strategy


@dataclass(frozen=True)
class Trial:
    """What each point of a curve is trained with, and scored on."""

    strategy: ModuleType
    settings: Section
    start: Path
    material: Material
    references: References
    metric: Metric

    def statistics(self, labels: int, seed: int) -> Array:
        """Train on so many labels; (items, k) on test, kept in the room lest a kill lose them."""
        room = self.material.room / f"{labels}-{seed}"
        kept = room / "statistics.npy"
        if not kept.exists():
            found = self._trained(labels, seed, room)
            with (room / "made.npy").open("wb") as file:
                np.save(file, found)
            os.replace(room / "made.npy", kept)
            shutil.rmtree(room / "weights")
        statistics: Array = np.load(kept)
        return statistics

    def _trained(self, labels: int, seed: int, room: Path) -> Array:
        one = self.material
        few = order(one.examples, one.type, seed)[:labels]
        own = replace(one, examples=few, room=room, made={})
        with whole(room / "weights") as made:
            self.strategy.fit(own, self.settings, self.start, seed, made)
        weights = room / "weights"
        predictor = load_weights(self.strategy, self.start, weights, one.task, one.classes)
        truth = self.references
        values = [said.value for said in predictor.predictions(truth.examples)]
        return self.metric.statistics(truth.values, values, truth.labels)


def order(examples: list[Item], kind: ModuleType, seed: int) -> list[Item]:
    """Shuffle examples; those that bring a class not seen yet come first, so that the first n have
    as many classes as there can be.
    """
    known = sorted(examples, key=lambda example: str(example["id"]))
    places = np.random.default_rng(seed).permutation(len(known))
    first, rest, seen = [], [], set()
    for example in (known[place] for place in places):
        new = labels_of(example, kind) - seen
        (first if new else rest).append(example)
        seen |= new
    return first + rest


def labels_of(example: Item, kind: ModuleType) -> set[str]:
    """The labels of an example; none where a task has no set of them."""
    if kind.OUTPUT not in ("classes", "labels"):
        return set()
    found = kind.reference(example)
    if isinstance(found, str):
        return {found}
    return {one if isinstance(one, str) else one[2] for one in found}  # labels, or spans


def learn(trial: Trial, counts: list[int], whole_set: tuple[list[int], Array]) -> Curve:
    """Train each count with each seed; `whole_set`: the seeds, and what they gave with all labels,
    (seeds, items, k).
    """
    seeds, all_labels = whole_set
    found = []
    for count in counts:
        found.append(np.stack([trial.statistics(count, seed) for seed in seeds]))
        scores = ", ".join(f"{score:.3f}" for score in trial.metric.score(found[-1].sum(axis=1)))
        print(f"{trial.material.name}: {count} labels, seeds {scores}", flush=True)
    return Curve([*counts, len(trial.material.examples)], seeds, [*found, all_labels])


def below(asked: list[int], there: int, task: str) -> list[int]:
    """The counts that are less than all labels; say which are not."""
    cut = sorted({count for count in asked if count >= there})
    if cut:
        said = ", ".join(map(str, cut))
        print(f"{task}: training has {there} labels; left out of its learning curve: {said}")
    return sorted(set(asked) - set(cut))


def begin(about: dict[str, Any], params: Params, splits: Path, start: Path) -> Trial:
    """Read what the candidate was trained on, with the knobs that it was trained with."""
    task = about["task"]
    knobs = choose(task, params.tasks, "task")
    recipe = choose(knobs.learning.recipe, params.recipes, "recipe")
    if "left_out" in about:
        raise StepError(
            f"tasks.{task}.learning.recipe is {knobs.learning.recipe!r}, which is left out of it"
            f" ({about['left_out']}); name a recipe that is for this task"
        )
    references = read_references(splits, "test")
    module, kind = strategy(recipe.strategy), task_type(references.kind)
    chosen = recipe.knobs | about.get("chosen", {})
    settings = check(module.Settings, chosen, f"recipes.{knobs.learning.recipe}")
    train, validation = (read_rows(splits / f"{part}.parquet") for part in ("train", "validation"))
    labels = references.labels
    material = Material(
        references.kind,
        kind.classes(labels) if hasattr(kind, "classes") else labels,
        train,
        knobs.max_tokens,
        validation,
        scorer(knobs.metric, references.kind, validation, labels),
        room=room_for(task, knobs, {"knobs": chosen}, splits, start),
        name=task,
    )
    metric = metric_for(knobs.metric, references.kind)
    return Trial(module, settings, start, material, references, metric)


def room_for(task: str, knobs: Task, recipe: dict[str, Any], splits: Path, start: Path) -> Path:
    """Where finished points are kept: they are good for the same inputs and code alone."""
    here = Path(__file__).parent
    code = [
        file for part in ("judge", "tasks", "transfer") for file in here.glob(f"{part}/**/*.py")
    ]
    inputs = {"metric": knobs.metric, "max_tokens": knobs.max_tokens} | recipe
    files = {"splits": digest(splits), "start": digest(start)}
    files["code"] = digest(Path(__file__), *sorted(code))
    return resume.room_for(f"learn-{task}", inputs | files)


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Few numbers, for `dvc metrics diff`."""
    said: dict[str, Any] = {
        "scores": {str(point["labels"]): point["mean"] for point in found["points"]}
    }
    return said | {f"next_{one['labels']}": one for one in [found["next"]] if one}


def main(
    splits: Path, start: Path, predictions: Path, out: Path, metrics: Path, plot: Path
) -> None:
    params, about = load(), read_json(predictions / "candidate.json")
    task = about["task"]
    asked = choose(task, params.tasks, "task").learning
    trial = begin(about, params, splits, start)
    said = read_predictions(predictions, "test")
    every = (said.seeds, said.statistics(trial.references, trial.metric))
    curve = learn(trial, below(asked.labels, len(trial.material.examples), task), every)
    found = {
        "task": task,
        "recipe": asked.recipe,
        "metric": trial.metric.name,
        "metric_title": trial.metric.title,
        "lower_is_better": trial.metric.better < 0,
        "confidence": params.judge.confidence,
        **learning(curve, trial.metric, params.judge, asked.target),
    }
    found["sentence"] = annotate(found)
    with whole(out) as made:
        write_json(made / "learning.json", found)
    write_json(metrics, summary(found))
    write_json(plot, [{"labels": p["labels"], "score": p["mean"]} for p in found["points"]])
    print(found["sentence"])
    resume.forget(trial.material.room)


if __name__ == "__main__":
    run(main)
