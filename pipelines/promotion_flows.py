"""Flows `promote`, `rollback` and `champion-check`: `outplant`'s own, asked for in Prefect's UI.

What the gate refuses, or a champion that has become worse, is no failure of a run: its state is
Completed and says so by its name. A mistake of the user's fails the run, with its one line. Only a
server that does not answer is asked again: moves are made under the task's lock and by lineage, so
that a second try finds what the first has done.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from pipelines import champion_check as checking
from pipelines import champion_report, clones, connection, promotion
from pipelines.promotion import Outcome
from steps.core.entry import StepError

RETRIES = 3
WAIT_SECONDS = [10.0, 60.0, 300.0]
KEY = re.compile(r"[^a-z0-9]+")  # what a key of an artifact has not
T = TypeVar("T")
ENDS = {"promote": "Unchanged", "refuse": "Refused", "inconclusive": "Inconclusive"}


async def silent(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether a task failed for a server that did not answer, which may be asked again."""
    return isinstance(await state.aresult(raise_on_failure=False), connection.Down)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=WAIT_SECONDS,
    retry_condition_fn=silent,
)
def ask(act: Callable[[], Any]) -> Any:
    """Do what may be done again."""
    try:
        return act()
    except connection.Down:
        raise
    except StepError as error:  # not raised: the user's line is all that there is to say
        return Failed(message=str(error), data=error)


def told(act: Callable[[], State[Any]]) -> State[Any]:
    """Act in the clone that OUTPLANT_HOME names; a mistake of the user's is the state's line."""
    try:
        clones.enter()
        return act()
    except StepError as error:
        return Failed(message=str(error), data=error)


def asked(name: str, act: Callable[[], T]) -> T:
    """Do it as a task of that name, again where a server does not answer."""
    named = ask.with_options(name=name, task_run_name=name)
    return cast(T, named(act, return_state=True).result())


@flow(name="promote", persist_result=False)
def promote(
    task: str, version: int | None = None, force: bool = False, reason: str = ""
) -> State[Any]:
    """Make a version of a task its champion, if the gate lets it.

    Args:
        task: A task of params.yaml, such as entities.
        version: Its number in the registry; without, the challenger (the newest).
        force: Promote whatever the gate says; needs a reason.
        reason: Why; kept in the history.
    """
    act = partial(promotion.promote, task, version, force, reason)
    return told(lambda: _moved("promote", task, act))


@flow(name="rollback", persist_result=False)
def rollback(task: str, reason: str, to: int | None = None) -> State[Any]:
    """Make an earlier champion of a task its champion again.

    Args:
        task: A task of params.yaml, such as entities.
        reason: Why; kept in the history.
        to: The number of a version that was champion; without, the champion before.
    """
    act = partial(promotion.rollback, task, reason, to)
    return told(lambda: _moved("rollback", task, act))


@flow(name="champion-check", persist_result=False)
def champion_check(task: str = "", requests: str = "") -> State[Any]:
    """Hold champions against the newest data: their metric, and what of texts and answers moved.

    Nothing is trained and nothing moves; stages of DVC up to the task's split are run where stale.

    Args:
        task: A task of params.yaml; without, all that have a champion.
        requests: The folder of a log of requests, to look at in place of the test set.
    """
    return told(lambda: _check_all(task, requests))


def _check_all(task: str, requests: str) -> State[Any]:
    logger = get_run_logger()
    tasks = [task] if task else asked("champions", checking.champions)
    if not tasks:
        logger.warning("no task has a champion; `outplant promote TASK` makes one")
        return Completed(name="No champion", message="no task has a champion", data=[])
    found, errors = [], []
    for one in tasks:
        try:
            found.append(_checked(one, requests))
        except StepError as error:  # the other champions are looked at all the same
            logger.error("%s", error)
            errors.append(f"{one}: {error}")
    if errors:
        raise StepError("; ".join(errors))
    if requests:
        moved = any("moved" in (one["inputs_verdict"], one["predictions_verdict"]) for one in found)
        said = "; ".join(map(champion_report.line, found))
        return Completed(name="Moved" if moved else "Not shown to have moved", message=said)
    verdicts = {one["verdict"] for one in found}
    ends = ("worse", "inconclusive", "steady", "better")
    name = next(end for end in ends if end in verdicts).capitalize()
    said = "; ".join(champion_report.line(one) for one in found)
    return Completed(name=name, message=said, data=found)


def _checked(task: str, requests: str) -> champion_report.Figures:
    """Check one champion as a task of the run, and leave an artifact."""
    logger = get_run_logger()
    say: Callable[[str], None] = lambda line: logger.info("  %s", line)  # noqa: E731
    log = Path(requests) if requests else None
    found = asked(f"check-{task}", partial(champion_report.check, task, say, logger.warning, log))
    logger.info("%s", champion_report.line(found))
    create_markdown_artifact(
        key=_key("champion-check", task),
        markdown=champion_report.markdown(found),
        description=f"The champion of {task} on the newest data",
    )
    return found


def _moved(action: str, task: str, act: Callable[[], Outcome]) -> State[Any]:
    """Move a champion, or say why not: as an artifact, and by the name of the run's state."""
    outcome = asked(action, act)
    get_run_logger().info("%s", outcome.message)
    create_markdown_artifact(
        key=_key(action, task),
        markdown=markdown(action, outcome),
        description=f"What came of {action} {task}",
    )
    done = {"promote": "Promoted", "rollback": "Rolled back"}[action]
    name = done if outcome.moved else ENDS[outcome.verdict.verdict]
    return Completed(name=name, message=outcome.message, data=outcome)


def markdown(action: str, outcome: Outcome) -> str:
    """Write an outcome: what moved, the verdict, and its clauses as a table."""
    clauses = outcome.verdict.clauses
    cells = ((one.mark, one.name, one.expected, one.found) for one in clauses)
    rows = [f"| {' | '.join(map(_cell, row))} |" for row in cells]
    verdict = "" if action == "rollback" else f"Verdict: **{outcome.verdict.verdict}**"
    table = ["| | clause | expected | found |", "|---|---|---|---|", *rows]
    return "\n\n".join(filter(None, [f"## {outcome.message}", verdict, "\n".join(table)]))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _key(action: str, task: str) -> str:
    """The key of an artifact: small letters, digits and dashes."""
    return f"{action}-{KEY.sub('-', task.lower()).strip('-')}"
