"""What a Prefect server is told of this project: pools, queues, deployments, and who has died."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker
from pydantic import Field

from pipelines import stages
from pipelines.connection import shown
from steps.core.entry import StepError
from steps.core.sections import Section, check

FILE = Path("infra/prefect.yaml")
TAG = "outplant"  # of all deployments; what has it not is none of our business
SILENT_SECONDS = 120  # four heartbeats: a server that is started again has that long
START_SECONDS = 120  # of a process; elsewhere a machine may have to be got, and an image
FAR_SECONDS = 1800
RUN, HEARTBEAT = "prefect.flow-run", "prefect.flow-run.heartbeat"
NEWS = (  # what is heard of a run at work
    *("Running", "Retrying", "Cancelling", "Completed", "Failed", "Crashed", "Cancelled"),
    *("Paused", "Suspended", "AwaitingRetry", "AwaitingConcurrencySlot"),
)


class Queue(Section):
    """A queue of a pool; 1 goes first."""

    priority: int = Field(ge=1)
    limit: int | None = Field(ge=0)


class Pool(Section):
    """A pool of workers: how many runs at once, over all its queues."""

    description: str
    limit: int | None = Field(ge=0)
    queues: dict[str, Queue]


def deploy(say: Callable[[str], None] = print) -> None:
    """Make pools, queues, automations and deployments as infra/prefect.yaml has them.

    Whatever is so already stays. StepError where no server is named, or it does not answer.
    """
    pools = declared()
    url = _address()
    with get_client(sync_client=True) as client:
        _greet(client, url)
        types = {_make_pool(client, name, pool) for name, pool in pools.items()}
        near = types == {ProcessWorker.type}
        for automation in automations(START_SECONDS if near else FAR_SECONDS):
            _install(client, automation)
        _deploy_flows(url)
        say(f"pools: {', '.join(pools)}")
        say(f"deployments: {', '.join(deployed(client))}")


def declared() -> dict[str, Pool]:
    """Read the pools of infra/prefect.yaml."""
    if not FILE.exists():
        raise StepError(f"no {FILE} here; run this in the folder of the project")
    raw = yaml.safe_load(FILE.read_text(encoding="utf-8")).get("work_pools") or {}
    return {name: check(Pool, pool, f"{FILE}, work_pools.{name}") for name, pool in raw.items()}


def deployed(client: SyncPrefectClient) -> list[str]:
    """List our deployments as FLOW/NAME."""
    flows = {flow.id: flow.name for flow in client.read_flows()}
    ours = [one for one in client.read_deployments() if TAG in (one.tags or [])]
    return sorted(f"{flows[one.flow_id]}/{one.name}" for one in ours)


def close(message: str) -> list[str]:
    """Make the runs Crashed that workers have at work, for these are gone; return their names."""
    at_work = {
        "state": {"type": {"any_": [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]}},
        "deployment_id": {"is_null_": False},  # else it is a person's own `outplant train`
    }
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(at_work))
        for run in runs:
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return [run.name for run in runs]


def _address() -> str:
    if url := get_current_settings().api.url:
        return url
    raise StepError(
        "no Prefect server is named; set PREFECT_API_URL, such as http://127.0.0.1:4200/api, "
        "or start one here by `outplant up`"
    )


def _greet(client: SyncPrefectClient, url: str) -> None:
    """StepError where the server does not answer, or lets us do nothing."""
    if error := client.api_healthcheck():
        raise StepError(
            f"Prefect at {shown(url)} does not answer ({error}); set PREFECT_API_URL or start it"
        )
    try:
        client.read_work_pools(limit=1)
    except PrefectHTTPStatusError as refused:
        code = refused.response.status_code
        raise StepError(
            f"Prefect at {shown(url)} refuses with {code}; set PREFECT_API_AUTH_STRING to what "
            "the server's PREFECT_SERVER_API_AUTH_STRING is"
        ) from None


def _make_pool(client: SyncPrefectClient, name: str, pool: Pool) -> str:
    """Make a pool and its queues, or set their limits again; its type stays, and is returned."""
    try:
        there = client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        there = client.create_work_pool(
            WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
        )
    changed = WorkPoolUpdate(description=pool.description, concurrency_limit=pool.limit)
    client.update_work_pool(name, changed)
    for queue, wanted in pool.queues.items():
        _make_queue(client, name, queue, wanted)
    return there.type


def _make_queue(client: SyncPrefectClient, pool: str, name: str, queue: Queue) -> None:
    try:
        there = client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        there = client.create_work_queue(name, work_pool_name=pool)
    client.update_work_queue(there.id, priority=queue.priority, concurrency_limit=queue.limit)


def automations(start_seconds: int) -> list[AutomationCore]:
    """Two that tell the truth of runs whose process and worker are gone, or never came.

    docs.prefect.io/v3/advanced/detect-zombie-flows; a state's event is the server's own, so that
    they hold for a run that dies before its first heartbeat. Only runs with our tag are meant.
    """
    return [
        _crash(
            "outplant: a run that falls silent is Crashed",
            {HEARTBEAT, *(f"{RUN}.{state}" for state in ("Running", "Retrying", "Cancelling"))},
            SILENT_SECONDS,
            f"Nothing was heard of the run for {SILENT_SECONDS} s: its process is gone",
        ),
        _crash(
            "outplant: a run that does not start is Crashed",
            {f"{RUN}.{state}" for state in ("Pending", "Submitting", "InfrastructurePending")},
            start_seconds,
            f"A worker took the run and did not start it within {start_seconds} s",
        ),
    ]


def _crash(name: str, after: set[str], seconds: int, message: str) -> AutomationCore:
    """Expect any event of a run within some seconds after certain others, else crash it."""
    return AutomationCore(
        name=name,
        description="Made by `outplant deploy`, and made so again",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match={"prefect.resource.id": f"{RUN}.*"},
            match_related={
                "prefect.resource.role": "tag",
                "prefect.resource.id": f"prefect.tag.{TAG}",
            },
            for_each={"prefect.resource.id"},
            after=after,
            expect={HEARTBEAT, *(f"{RUN}.{state}" for state in NEWS)},
            within=timedelta(seconds=seconds),
        ),
        actions=[
            ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
        ],
    )


def _install(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Make an automation, or the one of its name like it.

    One that is so already is left alone: to write it anew would forget what it waits for.
    """
    there = client.read_automations_by_name(automation.name)
    if not there:
        client.create_automation(automation)
    elif _means(there[0]) != _means(automation):
        client.update_automation(there[0].id, automation)


def _means(automation: AutomationCore) -> dict[str, Any]:
    said = {"enabled", "trigger", "actions", "description"}
    return automation.model_dump(include=said, exclude={"trigger": {"id"}})


def _deploy_flows(url: str) -> None:
    """Let Prefect's own command read the file; StepError has the line that it failed with."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(FILE)],
        env=stages.environment() | {"PREFECT_API_URL": url, "COLUMNS": "1000", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = stages.failure(
            done.stdout.replace("An exception occurred.", "").rstrip().splitlines()
        )
        raise StepError(f"`prefect deploy` of {FILE} failed: {said}")
