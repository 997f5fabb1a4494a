"""Stage `prepare`: a recipe -> its own start, so that candidates depend on it alone.

    python -m steps.prepare RECIPE CHECKPOINT OUT

DVC's matrix knows names only: through this stage a candidate depends on the checkpoint and on the
strategy of its own recipe, not on all of them.
"""

from pathlib import Path

from steps.core.entry import run
from steps.core.files import digest, whole, write_json
from steps.core.params import Recipe, check, choose, load
from steps.transfer.checkpoints import copy_checkpoint
from steps.transfer.starts import require_checkpoint
from steps.transfer.strategies import strategy


def prepare(name: str, recipe: Recipe, checkpoint: Path, out: Path) -> None:
    """Check the recipe's own knobs; copy its checkpoint, if it reads one, and name its code."""
    module = strategy(recipe.strategy)
    check(module.Settings, recipe.model_dump(), f"params.yaml: recipes.{name}")
    if module.READS_START:
        require_checkpoint(checkpoint)
        copy_checkpoint(checkpoint, out)
    code = digest(Path(str(module.__file__)))
    about = {"recipe": name, "strategy": recipe.strategy, "start": recipe.start, "code": code}
    write_json(out / "start.json", about)


def main(recipe: str, checkpoint: Path, out: Path) -> None:
    found = choose(recipe, load().recipes, "recipe")
    with whole(out) as made:
        prepare(recipe, found, checkpoint, made)


if __name__ == "__main__":
    run(main)
