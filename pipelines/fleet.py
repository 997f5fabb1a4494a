"""Fleet mode: a stage goes to a worker that has its own clone.

Controller and worker meet in git (the commit), in Prefect (the order, with the entries of dvc.lock
that the stage needs) and in a DVC remote (bytes and run cache). The worker pushes what it made; the
controller then replays the stage from the run cache, and so alone writes its dvc.lock.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Sequence
from threading import Event
from typing import Any

import httpx
from prefect import State, flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Completed, Failed

from pipelines import clones, dvc_cache, pools, stages, work
from pipelines.stages import Ran, Stage
from steps.core.entry import StepError, TryAgain

LOOK_SECONDS, LOOK_LEAST_OFTEN_SECONDS = 1.0, 10.0  # at a run: seldom where it takes long
PATIENCE_SECONDS = 3600.0  # with a Prefect server that does not answer, while workers go on
AGAIN = "TryAgain"
AWAY = (httpx.TransportError, PrefectHTTPStatusError)  # a server that is gone, or not yet back


@flow(name="stage", flow_run_name="{name}", persist_result=False, validate_parameters=False)
def stage(name: str, pool: str, commit: str, lock: str) -> State[Any]:
    """Run one stage of dvc.yaml in this worker's clone, and push what it made; `train` asks for it.

    Args:
        name: The stage, such as finetune@entities-full.
        pool: Its pool, whose launcher in infra/fleet.yaml holds.
        commit: The commit to run it at.
        lock: What dvc.lock says of the stage and of those that it reads from, as JSON.
    """
    try:
        clones.enter()
        with clones.own():
            ran = _take(name, pool, commit, lock)
    except TryAgain as error:
        return Failed(name=AGAIN, message=str(error))
    except StepError as error:
        return Failed(message=str(error))
    return Completed(name=ran.became.capitalize(), message=f"{ran.seconds:.1f} s")


def _take(name: str, pool: str, commit: str, lock: str) -> Ran:
    """Bring the clone to where the controller is, run the stage, and push."""
    clones.checkout(commit)
    dvc_cache.share()
    stages.LOCKFILE.write_text(lock, encoding="utf-8")
    before = sorted({*json.loads(lock).get("stages", {})} - {name})
    # `repro --pull` leaves what is there, however old
    pull = [["pull", "--force", *before]] if before else []
    ran = work.run(name, pool, ["--pull"], (pull, [["push", "--run-cache", name]]))
    dvc_cache.prune(get_run_logger().info)
    return ran


def push(arguments: list[str]) -> None:
    """Push to the DVC remote; TryAgain where it does not take it."""
    command, logger = ["push", *arguments], get_run_logger()
    try:
        stages.call(["--wait-for-lock", *command], lambda line: logger.info("dvc push | %s", line))
    except StepError as error:
        raise TryAgain(f"dvc {' '.join(command)}: {error}") from None


class Crew:
    """The workers, as a run of `train` sees them: who takes which stage, and what became of it."""

    def __init__(self, todo: Sequence[Stage], queue: str) -> None:
        """Push what the workers will need; StepError where there is no remote, or no commit."""
        stages.remote()
        self.queue, self.commit = pools.queue(queue), clones.head()
        local = stages.outside()
        self.away = {one.name for one in todo if not one.always and one.name not in local}
        self.halted = Event()
        needed = {name for one in todo if one.name in self.away for name in one.after}
        if ready := needed - {one.name for one in todo}:
            push(sorted(ready))

    def run(self, stage: Stage) -> Ran:
        """Have a stage run: by a worker, or here what reads this machine's files or a registry."""
        if stage.name not in self.away:
            ran = work.run(stage.name, stage.pool)
            if not stage.always:
                push([stage.name])
            return ran
        with get_client(sync_client=True) as client:
            try:
                ordered = self._order(client, stage)
            except AWAY as error:
                raise TryAgain(f"Prefect's server does not answer: {error}") from None
            ended = self._ended(client, ordered)
        became = _became(stage.name, ended)
        logger = get_run_logger()
        replayed = stages.run(stage.name, logger.debug, ["--pull"])
        if replayed == "ran":
            logger.warning("%s was in no run cache of the remote, and ran here again", stage.name)
        return Ran(stage.name, became, ended.total_run_time.total_seconds())

    def _order(self, client: SyncPrefectClient, stage: Stage) -> FlowRun:
        """Ask for a run, or find the one that a controller before us asked for and that goes on."""
        deployment = f"stage/{stage.pool}"
        lock = {"schema": "2.0", "stages": stages.entries([*stage.after, stage.name])}
        asked = {"name": stage.name, "pool": stage.pool, "commit": self.commit}
        asked["lock"] = json.dumps(lock, sort_keys=True)
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        context = TaskRunContext.get()
        try:
            found = client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            raise StepError(f"Prefect has no {deployment}; run `outplant deploy`") from None
        for attempt in itertools.count():
            run = client.create_flow_run_from_deployment(
                found.id,
                parameters=asked,
                name=stage.name,
                tags=[stage.pool],
                idempotency_key=f"{key}-{attempt}",
                parent_task_run_id=context.task_run.id if context else None,
                work_queue_name=self.queue,
            )
            if not (run.state and run.state.is_final()):
                return run
        raise AssertionError

    def _ended(self, client: SyncPrefectClient, run: FlowRun) -> FlowRun:
        """Wait for a worker to be done; a server that is away meanwhile is waited for too."""
        logger, shown = get_run_logger(), ""
        began = answered = time.monotonic()
        while not self.halted.wait(_pause(time.monotonic() - began)):
            try:
                found = client.read_flow_run(run.id)
            except ObjectNotFound:
                raise TryAgain(f"the run of stage {run.name} was deleted") from None
            except AWAY as error:
                if time.monotonic() - answered > PATIENCE_SECONDS:
                    raise TryAgain(f"Prefect's server does not answer: {error}") from None
                continue
            state, answered = found.state, time.monotonic()
            if state and state.is_final():
                return found
            if state and state.name != shown:
                shown = str(state.name)
                logger.info("%s | %s", run.name, SAID.get(shown, shown.lower()))
        raise StepError(f"stage {run.name} is left to its worker; the next run will have it")


def _pause(waited: float) -> float:
    return min(LOOK_SECONDS + waited / 60, LOOK_LEAST_OFTEN_SECONDS)


SAID = {
    "Scheduled": "waits for a worker",
    "Late": "waits for a worker still; see that one of its pool is there",
    "Pending": "a worker has it",
    "Running": "runs",
}


def _became(name: str, ended: FlowRun) -> str:
    """Read what became of a stage from its run; the errors are a stage's."""
    state = ended.state
    assert state
    if state.is_completed():
        return str(state.name).lower()
    said = state.message or f"stage {name} is {state.name}"
    if state.is_crashed() or state.name == AGAIN:
        raise TryAgain(said)
    if state.is_cancelled():
        raise StepError(f"stage {name} was cancelled; run again to go on")
    raise StepError(said)
