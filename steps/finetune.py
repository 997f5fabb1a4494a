"""Stage `finetune`: a start + training examples -> a candidate, all its seeds.

    python -m steps.finetune TASK RECIPE SPLITS START OUT METRICS

Validation says which epoch of a training is kept, and which knobs, where a recipe has a `search`. A
killed run goes on when the stage is run again, and ends in the same bytes as an uninterrupted one.
"""

import shutil
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from steps.core.entry import run
from steps.core.files import digest, read_json, read_rows, whole, write_json
from steps.core.params import Recipe, Section, check, choose, load
from steps.judge.degenerate import one_thing
from steps.judge.metrics import scorer
from steps.tasks import task_type
from steps.transfer import resume
from steps.transfer.checkpoints import copy_settings, load_weights
from steps.transfer.search import Train, search
from steps.transfer.strategies import Material, left_out, strategy

Figures = dict[str, Any]


def finetune(
    about: dict[str, Any], recipe: Recipe, material: Material, start: Path, out: Path
) -> Figures:
    """Train one candidate; a strategy without randomness is trained once for all its seeds."""
    module = strategy(recipe.strategy)
    settings = check(module.Settings, recipe.knobs, f"recipes.{about['recipe']}")
    seeded = module.seeded(settings)
    seeds = about["seeds"] if seeded else about["seeds"][:1]
    figures: Figures = {}
    for seed in seeds:
        print(f"{about['task']} {about['recipe']}: seed {seed}", flush=True)
        figures[str(seed)] = fit(module, settings, material, start, seed)
        shutil.copytree(material.room / f"done-{seed}", out / f"seed-{seed}")
    chosen = {seed: seed if seeded else seeds[0] for seed in about["seeds"]}
    weights = {str(seed): f"seed-{trained}" for seed, trained in chosen.items()}
    said = {str(seed): figures[str(trained)]["validation"] for seed, trained in chosen.items()}
    about |= {"weights": weights, "classes": material.classes, "validation": said}
    if (start / "config.json").exists():  # so that another recipe can start at this folder alone
        copy_settings(start, out)
    write_json(out / "candidate.json", about)
    return figures


def first_seed(about: dict[str, Any], start: Path) -> Train:
    """What a trial of a search trains and is judged by: its first seed, on validation."""

    def train(recipe: Recipe, material: Material) -> float:
        module = strategy(recipe.strategy)
        settings = check(module.Settings, recipe.knobs, f"recipes.{about['recipe']}")
        figures = fit(module, settings, material, start, about["seeds"][0])
        return float(figures["validation"])

    return train


def fit(
    module: ModuleType, settings: Section, material: Material, start: Path, seed: int
) -> Figures:
    """Train one seed, unless a run that was killed has; its weights stay in the room until all are
    there.
    """
    done = material.room / f"done-{seed}"
    if not done.exists():
        with whole(done) as made:
            figures = module.fit(material, settings, start, seed, made) or {}
            write_json(made / "figures.json", figures | judged(module, material, start, made))
    found: Figures = read_json(done / "figures.json")
    if found["degenerate"]:
        print(f"warning: seed {seed} says the same of every validation example", flush=True)
    return found


def judged(module: ModuleType, material: Material, start: Path, weights: Path) -> Figures:
    """Score what was saved on validation; say whether it predicts one thing only."""
    predictor = load_weights(module, start, weights, material.task, material.classes)
    values = [p.value for p in predictor.predictions(material.validation)]
    truth = [material.type.reference(example) for example in material.validation]
    score = material.score(values) if material.score and values else None
    return {"validation": score, "degenerate": one_thing(material.task, truth, values)}


def main(task: str, recipe: str, splits: Path, start: Path, out: Path, metrics: Path) -> None:
    params = load()
    chosen, knobs = choose(recipe, params.recipes, "recipe"), choose(task, params.tasks, "task")
    split = read_json(splits / "task.json")
    kind = task_type(split["type"])
    about = {
        "task": task,
        "type": split["type"],
        "recipe": recipe,
        "strategy": chosen.strategy,
        "start": chosen.start,
        "labels": split["labels"],
        "max_tokens": knobs.max_tokens,
        "seeds": params.seeds,
    }
    if why := left_out(task, chosen, kind):
        print(f"{task} {recipe}: left out, {why}")
        write_json(out / "candidate.json", about | {"left_out": why})
        write_json(metrics, {"left_out": why})
        return
    examples, validation = (read_rows(splits / f"{p}.parquet") for p in ("train", "validation"))
    score = scorer(knobs.metric, split["type"], validation, split["labels"])
    classes = kind.classes(split["labels"]) if hasattr(kind, "classes") else split["labels"]
    code = sorted(Path(__file__).parent.glob("transfer/**/*.py"))
    inputs = {"about": about, "recipe": chosen.model_dump(), "metric": knobs.metric}
    files = {"splits": digest(splits), "start": digest(start), "code": digest(*code)}
    room = resume.room_for(f"finetune-{task}-{recipe}", inputs | files)
    material = Material(
        split["type"], classes, examples, knobs.max_tokens, validation, score, room=room, name=task
    )
    began = time.perf_counter()
    with whole(out) as made:
        chosen, searched = search(chosen, recipe, material, first_seed(about, start))
        about |= {"chosen": searched["best"]} if searched else {}
        figures = finetune(about, chosen, material, start, made)
    seconds = time.perf_counter() - began
    said = {"train_seconds": round(seconds, 1), "train_examples": len(examples)}
    write_json(metrics, report(figures) | said | ({"search": searched} if searched else {}))
    resume.forget(room)


def report(figures: Figures) -> Figures:
    """Each seed's kept epoch and score on validation; the seeds that say one thing only."""
    return {
        "seeds": {
            seed: {name: found[name] for name in ("epoch", "validation") if name in found}
            for seed, found in figures.items()
        },
        "degenerate_seeds": [int(seed) for seed, found in figures.items() if found["degenerate"]],
    }


if __name__ == "__main__":
    run(main)
