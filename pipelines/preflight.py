"""What can be known to be wrong before a run begins: every name and path in params.yaml."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from steps import readers
from steps.core.candidates import AUGMENTED, CANDIDATES
from steps.core.entry import StepError
from steps.core.params import Corpus, Params, Recipe, Section, Task, check, choose, load
from steps.corpora import language
from steps.corpora.filters import FILTERS
from steps.judge.metrics import metric_for
from steps.judge.slices import check_kind
from steps.tasks import TASKS, task_type
from steps.transfer.search import check_search
from steps.transfer.strategies import left_out, require_other, strategy


def preflight(params: Params | None = None) -> list[str]:
    """Return all mistakes, each as one line: expected, found, what to do."""
    found = params or load()
    return [line for one in _checks(found) if (line := _said(one))]


def _checks(params: Params) -> Iterator[Callable[[], object]]:
    for name, source in params.sources.items():
        yield partial(_there, f"sources.{name}.path", source.path)
    for name, corpus in params.corpora.items():
        yield partial(_reads, f"corpora.{name}", corpus, "documents")
        yield partial(language.check, corpus.languages)
        for one in corpus.filters:
            yield partial(choose, one, FILTERS, f"filter (corpora.{name}.filters)")
    for name, task in params.tasks.items():
        yield partial(choose, task.type, TASKS, "task type")
        yield partial(_reads, f"tasks.{name}", task, task.type)
        yield partial(metric_for, task.metric, task.type)
        for kind in task.slices:
            yield partial(check_kind, kind, task.type, f"tasks.{name}.slices", _columns(task))
    for name, recipe in params.recipes.items():
        yield partial(_recipe, name, recipe, params)
    starts = {f"adaptations.{name}": part.start for name, part in params.adaptations.items()}
    starts |= {f"recipes.{name}": recipe.start for name, recipe in params.recipes.items()}
    starts |= {f"augmentations.{name}": one.start for name, one in params.augmentations.items()}
    starts["profile"] = params.profile.start
    for name, start in starts.items():
        yield partial(_start, f"{name}.start", start, params)


def _said(one: Callable[[], object]) -> str:
    try:
        one()
    except StepError as error:
        return f"params.yaml: {' '.join(str(error).split())}"
    return ""


def _there(where: str, path: str) -> None:
    if "://" not in path and not Path(path).exists():
        raise StepError(
            f"{where} is {path!r}, and nothing is there; put the files there, or mend it"
        )


def _reads(where: str, entry: Corpus | Task, kind: str) -> None:
    """A reader must be there, and make what is asked of it."""
    if kind not in readers.load(entry.reader).KIND:
        able = [name for name in readers.READERS if kind in readers.load(name).KIND]
        raise StepError(
            f"{where}: reader {entry.reader!r} makes no {kind}; take: {', '.join(able)}"
        )
    readers.options(entry.reader, entry.options, f"{where}.options", kind)


def _columns(task: Task) -> list[str]:
    """Columns that the reader keeps, by what is written; its options are checked elsewhere."""
    said = task.options.get("columns")  # of `conll` a list: what a file's columns hold
    return [str(name) for name in said] if isinstance(said, dict) else []


def _recipe(name: str, recipe: Recipe, params: Params) -> None:
    settings: type[Section] = strategy(recipe.strategy).Settings
    check(settings, recipe.knobs, f"recipes.{name}")
    check_search(recipe, f"recipes.{name}")
    require_other(name, params)
    for task, entry in params.tasks.items():
        if entry.type in TASKS:
            left_out(task, recipe, task_type(entry.type))


def _start(where: str, start: str, params: Params) -> None:
    made = {f"data/raw/{name}" for name in params.sources}
    made |= {f"models/{name}" for name in params.adaptations}
    made |= {f"{AUGMENTED}{name}" for name in params.augmentations}
    if start.startswith(CANDIDATES):
        return  # which params.yaml was checked for as it was read
    if start not in made and not Path(start).exists():
        raise StepError(
            f"{where} is {start!r}; expected a folder, or one of: {', '.join(sorted(made))}"
        )
