"""Stage `finetune`: a start + training examples -> a candidate, all its seeds.

python -m steps.finetune TASK RECIPE SPLITS START OUT METRICS
"""

import time
from pathlib import Path
from typing import Any

from steps.core.entry import run
from steps.core.files import read_json, read_rows, whole, write_json
from steps.core.params import Recipe, check, choose, load
from steps.tasks import task_type
from steps.transfer.strategies import Material, strategy


def finetune(
    about: dict[str, Any], recipe: Recipe, material: Material, start: Path, out: Path
) -> None:
    """Train one candidate; a strategy without randomness is trained once for all its seeds."""
    module = strategy(recipe.strategy)
    settings = check(module.Settings, recipe.model_dump(), f"recipes.{about['recipe']}")
    seeds = about["seeds"] if module.SEEDED else about["seeds"][:1]
    for seed in seeds:
        print(f"{about['task']} {about['recipe']}: seed {seed}", flush=True)
        module.fit(material, settings, start, seed, out / f"seed-{seed}")
    chosen = {seed: seed if module.SEEDED else seeds[0] for seed in about["seeds"]}
    weights = {str(seed): f"seed-{trained}" for seed, trained in chosen.items()}
    write_json(out / "candidate.json", about | {"weights": weights, "classes": material.classes})


def main(task: str, recipe: str, splits: Path, start: Path, out: Path, metrics: Path) -> None:
    params = load()
    chosen = choose(recipe, params.recipes, "recipe")
    split = read_json(splits / "task.json")
    kind = task_type(split["type"])
    max_tokens = choose(task, params.tasks, "task").max_tokens
    examples = read_rows(splits / "train.parquet")
    material = Material(kind, kind.classes(split["labels"]), examples, max_tokens)
    about = {
        "task": task,
        "type": split["type"],
        "recipe": recipe,
        "strategy": chosen.strategy,
        "start": chosen.start,
        "labels": split["labels"],
        "max_tokens": max_tokens,
        "seeds": params.seeds,
    }
    began = time.perf_counter()
    with whole(out) as made:
        finetune(about, chosen, material, start, made)
    seconds = time.perf_counter() - began
    write_json(metrics, {"train_seconds": round(seconds, 1), "train_examples": len(examples)})


if __name__ == "__main__":
    run(main)
