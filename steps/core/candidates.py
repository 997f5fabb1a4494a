"""What recipes and augmentations say of candidates and of each other; StepError in one line."""

from steps.core.entry import StepError
from steps.core.params import Params, choose

CANDIDATES = "candidates/"  # where they lie, by task and recipe
AUGMENTED = "augmented/"  # where the starts lie that the stage `augment` makes


def check(params: Params, path: str) -> None:
    """Check that what recipes and augmentations name is there."""
    for name, recipe in params.recipes.items():
        where = f"{path}, recipes.{name}"
        _check_start(params, recipe.start, f"{where}.start")
        for task in recipe.tasks or ():
            choose(task, params.tasks, f"task (in {where}.tasks)")
        if recipe.without is not None:
            choose(recipe.without, params.recipes, f"recipe (in {where}.without)")
    for name, entry in params.tasks.items():
        _check_curve(params, name, entry.learning.recipe, f"{path}, tasks.{name}.learning.recipe")
    for name, one in params.augmentations.items():
        where = f"{path}, augmentations.{name}"
        choose(one.task, params.tasks, f"task (in {where}.task)")
        _check_start(params, one.start, f"{where}.start")
        for key in ("forth", "back"):
            _check_translator(params, getattr(one, key), f"{where}.{key}")


def _check_start(params: Params, start: str, where: str) -> None:
    if start.startswith(AUGMENTED):
        name = start.removeprefix(AUGMENTED).rstrip("/")
        choose(name, params.augmentations, f"augmentation (in {where})")
    if start.startswith(CANDIDATES):
        _parted(params, start, where)


def _check_curve(params: Params, task: str, recipe: str, where: str) -> None:
    """A learning curve's recipe must be for the task, and must not have seen its labels before."""
    found = choose(recipe, params.recipes, f"recipe (in {where})")
    if found.tasks is not None and task not in found.tasks:
        raise StepError(
            f"{where} is {recipe!r}, which is for {', '.join(found.tasks) or 'no task'}"
        )
    if found.start.startswith(f"{CANDIDATES}{task}/"):
        raise StepError(
            f"{where} is {recipe!r}, which starts at {found.start}, a candidate that has learned"
            " from all labels of the task; name a recipe with another start"
        )


def _check_translator(params: Params, folder: str, where: str) -> None:
    task, _ = _parted(params, folder, where)
    if (found := params.tasks[task].type) != "translation":
        raise StepError(f"{where} is of task {task}, of type {found}; expected a translation")


def _parted(params: Params, folder: str, where: str) -> tuple[str, str]:
    """The task and the recipe of a candidate's folder."""
    parts = folder.rstrip("/").split("/")
    if f"{parts[0]}/" != CANDIDATES or len(parts) != 3:
        raise StepError(f"{where} is {folder!r}; expected a candidate, {CANDIDATES}TASK/RECIPE")
    choose(parts[1], params.tasks, f"task (in {where})")
    choose(parts[2], params.recipes, f"recipe (in {where})")
    return parts[1], parts[2]
