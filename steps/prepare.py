"""Stage `prepare`: a recipe -> its own start, so that candidates depend on it alone.

    python -m steps.prepare RECIPE CHECKPOINT SPLITS CORPORA OUT

DVC's matrix knows names only: through this stage a candidate depends on the checkpoint, the
strategy, and what more the strategy reads, of its own recipe, and not on those of all. CHECKPOINT
may be a candidate's folder: what it has learned is where the recipe starts.
"""

from functools import cache
from pathlib import Path

from steps.core.entry import run
from steps.core.files import digest, whole, write_json
from steps.core.params import Params, Recipe, check, choose, load
from steps.corpora.matching import Overlaps, Rules, held_out_texts
from steps.transfer.checkpoints import copy_start
from steps.transfer.strategies import Supplies, require_other, strategy


def prepare(
    name: str, recipe: Recipe, checkpoint: Path, out: Path, supplies: Supplies | None = None
) -> None:
    """Check the recipe's own knobs; copy its checkpoint and what else it reads; name its code."""
    module = strategy(recipe.strategy)
    settings = check(module.Settings, recipe.knobs, f"params.yaml: recipes.{name}")
    out.mkdir(parents=True, exist_ok=True)
    about = {"recipe": name, "strategy": recipe.strategy, "start": recipe.start}
    if hasattr(module, "copy_start"):
        module.copy_start(checkpoint, out)
    elif module.READS_START:
        about |= copy_start(checkpoint, out)
    if supplies is not None and hasattr(module, "gather"):
        module.gather(settings, supplies, out)
    used = [module, *(strategy(other) for other in getattr(module, "BUILT_ON", ()))]
    code = digest(*(Path(str(part.__file__)) for part in used))
    write_json(out / "start.json", about | {"code": code})


def supplied(splits: Path, corpora: Path, params: Params) -> Supplies:
    """What a strategy may gather from; held-out texts are read once, and only if asked for."""

    @cache
    def overlaps() -> Overlaps:
        return Overlaps(held_out_texts(splits), Rules(**params.decontaminate.model_dump()))

    def held_out(texts: list[str]) -> list[bool]:
        return [hit is not None for hit in overlaps().find(texts)]

    return Supplies(splits, corpora, held_out)


def main(recipe: str, checkpoint: Path, splits: Path, corpora: Path, out: Path) -> None:
    params = load()
    found = choose(recipe, params.recipes, "recipe")
    require_other(recipe, params)
    with whole(out) as made:
        prepare(recipe, found, checkpoint, made, supplied(splits, corpora, params))


if __name__ == "__main__":
    run(main)
