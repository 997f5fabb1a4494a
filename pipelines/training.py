"""Flow `train`: DVC's graph as Prefect tasks. One task is one stage, and is named after it."""

import logging
import sys
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, cast

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.logging.configuration import setup_logging
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines import clones, closing, leash, pools, stages, work
from pipelines.fleet import Crew
from pipelines.schedule import Schedule
from pipelines.stages import Ran, Stage
from steps.core.entry import StepError, TryAgain

AT_MOST = 256  # stages that run here or are waited for, at once
AWAY = "away"
NAMED = 5  # of the stages that are left out


def passes(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether a failed stage is tried again: what a user has to mend is not."""
    return isinstance(state.data, TryAgain)


@task(
    cache_policy=NO_CACHE,  # DVC's cache is the only one
    persist_result=False,
    retries=3,
    retry_delay_seconds=[1, 5, 20],
    retry_condition_fn=passes,
)
def run_stage(stage: Stage, place: str, crew: Crew | None) -> State[Ran]:
    """Run one stage of dvc.yaml; the name of its state is what became of it."""
    logger = get_run_logger()
    logger.info("%s %s", place, stage.name)
    try:
        ran = crew.run(stage) if crew else work.run(stage.name, stage.pool)
    except TryAgain:
        raise
    except StepError as error:  # not raised: the user's line is all that there is to say
        return Failed(message=str(error), data=error)
    logger.info("%s %s: %s, %.1f s", place, stage.name, ran.became, ran.seconds)
    return Completed(name=ran.became.capitalize(), message=f"{ran.seconds:.1f} s", data=ran)


@flow(
    name="train",
    persist_result=False,
    validate_parameters=False,
    task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=AT_MOST)),
)
def train(fleet: bool = False, queue: str = "default", branch: str = "") -> State[list[Ran]]:
    """Bring every out of dvc.yaml up to date; what is not stale is left alone.

    Args:
        fleet: Hand the stages to the workers of the pools cpu and gpu, instead of running them
            where this flow runs. It takes a DVC remote, and a commit that the workers can fetch.
        queue: The queue of these pools to use: urgent, default or nightly.
        branch: Commit dvc.lock to this branch, and push it where there is an origin. Empty: in
            fleet mode to the branch that is checked out, without a push, else not at all.
    """
    try:
        clones.enter()
        with clones.alone(), leash.ending_with_us():
            said, done = _train(fleet, queue, branch)
    except StepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=said, data=done)


def _train(fleet: bool, queue: str, branch: str) -> tuple[str, list[Ran]]:
    graph = stages.read()
    todo = graph.affected()
    runs = Runs(todo, Crew(todo, queue) if fleet and not graph.unchanged() else None)
    try:
        runs.go()
    except StepError as error:
        _leave(f"Failed: {error}", runs.done())
        raise
    done = runs.done()
    said = closing.summary(graph, done)
    if fleet or branch:
        clones.commit_lock(branch, f"Train: {said}")
    _leave(said, done)
    return said, done


def _leave(said: str, done: list[Ran]) -> None:
    """Leave what can be read of the run afterwards."""
    create_markdown_artifact(closing.report(said, done), "train", "The run's result")


class Runs:
    """The stages of one run of the flow: each starts as soon as what it reads is there."""

    def __init__(self, todo: Sequence[Stage], crew: Crew | None) -> None:
        known = pools.load()
        self.crew, self.budget = crew, pools.Budget(known)
        away = crew.away if crew else set()
        places = {stage.name: AWAY if stage.name in away else stage.pool for stage in todo}
        rooms = {name: pool.room() for name, pool in known.items()}
        self.schedule = Schedule(todo, places, rooms)
        self.stages = {stage.name: stage for stage in todo}
        self.futures: dict[str, PrefectFuture[Ran]] = {}
        self.ended: SimpleQueue[str] = SimpleQueue()
        self.errors: list[Exception] = []

    def go(self) -> None:
        """Run all that can; StepError at the end where a stage failed, and others waited for it."""
        try:
            self._start()
            while self.schedule.running:
                self._end(self.ended.get())
                self._start()
        except BaseException:
            if self.crew:
                self.crew.halted.set()
            raise
        if self.errors:
            raise StepError("; ".join([*map(str, self.errors), *self._left_out()]))

    def done(self) -> list[Ran]:
        """Return what became of the stages, in the order of their ends."""
        return [self.futures[name].result() for name in self.schedule.done]

    def _left_out(self) -> list[str]:
        """Say what did not run for it, in one clause; the first few by name."""
        names = self.schedule.left_out()
        rest = ["..."] if len(names) > NAMED else []
        return [f"not run for it: {', '.join(names[:NAMED] + rest)}"] if names else []

    def _start(self) -> None:
        while started := self.schedule.take():
            for stage in started:
                try:
                    self.budget.take(stage)
                except StepError as error:
                    self.errors.append(error)
                    self.schedule.end(stage.name, False)
                else:
                    self._submit(stage)

    def _submit(self, stage: Stage) -> None:
        number, todo = len(self.futures) + 1, len(self.schedule.todo)
        named = run_stage.with_options(name=stage.name, task_run_name=stage.name, tags=[stage.pool])
        before = [self.futures[name] for name in stage.after if name in self.futures]
        future: Any = cast(Any, named).submit(
            stage, f"[{number}/{todo}]", self.crew, wait_for=before
        )
        self.futures[stage.name] = future
        future.add_done_callback(lambda _: self.ended.put(stage.name))

    def _end(self, name: str) -> None:
        self.futures[name].wait()
        state = self.futures[name].state
        self.schedule.end(name, state.is_completed())
        if state.is_completed():
            self.budget.spend(self.stages[name], self.futures[name].result())
        else:
            error = state.result(raise_on_failure=False)
            self.errors.append(error if isinstance(error, Exception) else StepError(str(error)))


def show_lines() -> None:
    """Show what our tasks log on stderr, bare; what Prefect itself logs stays with its server."""
    setup_logging()  # before: it removes the handlers that it did not make
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.module in ("training", "work", "fleet"))
    logging.getLogger("prefect.task_runs").addHandler(handler)
