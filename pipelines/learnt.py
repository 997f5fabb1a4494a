"""What the weights of a winner have learnt from, as its stages in dvc.lock tell.

More is upstream of a version than it was taught by: what a corpus is profiled against, or what a
test set is kept apart from, is read as well. Each path between stages counts as teaching, unless it
is known not to; so a stage that is not known here is never overlooked.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.lineage import Entries, values

CANDIDATES = Path("candidates")
CLEAN, SPLITS = "data/clean", "data/splits"
APART = {  # a kind of stage -> what it reads and does not hand on
    "split": ("data/validation",),
    "decontaminate": (SPLITS, "data/validation"),
    "gather": (CLEAN, SPLITS),  # but for the parts of the adaptation
    "prepare": (CLEAN, SPLITS),  # but for what the strategy gathers
}


def learnt(stages: Entries, task: str, recipe: str) -> set[str]:
    """Return the stages whose outs the weights of a candidate have learnt from."""
    made = {out["path"]: name for name, entry in stages.items() for out in entry.get("outs", [])}
    found: set[str] = set()
    waiting = [name for name in [made.get(f"{CANDIDATES}/{task}/{recipe}")] if name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            taught = set(_taught(name, stages[name]))
            waiting += [stage for out, stage in made.items() if _touches(out, taught)]
    return found


def names(stages: set[str], kind: str) -> list[str]:
    """Return NAME of each stage KIND@NAME among the stages."""
    parts = (stage.partition("@") for stage in stages)
    return sorted(name for head, _, name in parts if head == kind)


def _taught(stage: str, entry: dict[str, Any]) -> Iterator[str]:
    """Paths that a stage reads and teaches by."""
    kind, _, name = stage.partition("@")
    params = values(entry)
    recipe = params.get(f"recipes.{name}", {}) if kind == "prepare" else {}
    apart = APART.get(kind, ())
    if recipe and not _reads_start(recipe):
        apart += (str(recipe["start"]),)
    for dep in entry.get("deps", []):
        if not dep["path"].startswith(apart):
            yield dep["path"]
    if kind == "gather":
        text = params.get("adaptations", {}).get(name, {}).get("text", {})
        yield from (f"{CLEAN}/{corpus}" for part in ("corpora", "replay") for corpus in text[part])
        yield from (f"{SPLITS}/{task}" for task in text["tasks"])
    yield from (f"{CLEAN}/{recipe[knob]}" for knob in ("pool",) if knob in recipe)
    yield from (f"{SPLITS}/{task}" for task in recipe.get("with", ()))


def _reads_start(recipe: dict[str, Any]) -> bool:
    """Whether a strategy begins with what its start has learnt; one that is not known may."""
    from steps.transfer.strategies import STRATEGIES, strategy

    if recipe.get("strategy") not in STRATEGIES:
        return True
    module = strategy(recipe["strategy"])
    return bool(module.READS_START or hasattr(module, "copy_start"))


def _touches(out: str, paths: set[str]) -> bool:
    """Whether an out is, holds or lies in one of the paths."""
    return any(
        out == path or path.startswith(f"{out}/") or out.startswith(f"{path}/") for path in paths
    )
