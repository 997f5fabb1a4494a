"""Which version of a task is meant: its champion, unless another is named."""

from pipelines import registry
from pipelines.versions import CHALLENGER, CHAMPION, Version
from steps.core.entry import StepError
from steps.core.params import choose, load

WAYS = {CHAMPION: "outplant promote {}", CHALLENGER: "dvc repro register@{}"}


def chosen(task: str, which: str = CHAMPION) -> Version:
    """Return the version that a number or an alias means; StepError where there is none."""
    choose(task, load().tasks, "task")
    return known(task, which)


def known(task: str, which: str) -> Version:
    """The same, of a task that params.yaml may not name: a server has no need of that."""
    if which.isdecimal():
        return registry.version(task, int(which))
    if which not in WAYS:
        raise StepError(f"no version {which!r}; expected a number, {CHAMPION} or {CHALLENGER}")
    found = registry.aliased(task, which)
    if found is None:
        raise StepError(f"{task} has no {which}; run `{WAYS[which].format(task)}`")
    return found
