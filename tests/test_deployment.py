"""What `outplant deploy` makes on a Prefect server, and what infra/prefect.yaml has it make."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.core.entry import StepError

ROOT = Path(__file__).parent.parent
DECLARED = yaml.safe_load((ROOT / "infra/prefect.yaml").read_text())
DEPLOYMENTS = {
    f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}": one for one in DECLARED["deployments"]
}


@pytest.fixture
def project(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def flow(deployment: dict[str, Any]) -> Any:
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(deployment["entrypoint"])


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_has_a_pool_a_queue_a_description_and_heartbeats(name: str) -> None:
    one = DEPLOYMENTS[name]
    place = one["work_pool"]
    assert place["work_queue_name"] in DECLARED["work_pools"][place["name"]]["queues"]
    assert one["description"].endswith(".")
    assert "outplant" in one["tags"]
    assert place["job_variables"] == {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
    assert "concurrency_limit" not in one  # its lease ends the run where the server is down


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_parameters_of_a_deployment_come_with_help(name: str) -> None:
    from prefect.utilities.callables import parameter_schema

    found = flow(DEPLOYMENTS[name])
    assert found.name == name.split("/", maxsplit=1)[0].replace("_", "-")
    known = parameter_schema(found).model_dump()["properties"]
    assert {key for key, about in known.items() if not about.get("description")} == set()
    assert set(DEPLOYMENTS[name].get("parameters", {})) <= set(known)


def test_what_runs_by_itself_is_trained_nightly_and_checked_weekly() -> None:
    from prefect.client.schemas.schedules import CronSchedule

    schedules = {name: one.get("schedules", []) for name, one in DEPLOYMENTS.items()}
    timed = {name: found for name, found in schedules.items() if found}
    assert set(timed) == {"train/nightly", "champion_check/weekly"}
    for (schedule,) in timed.values():
        assert CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert schedule["timezone"] == "UTC"


@pytest.mark.parametrize("pool", DECLARED["work_pools"])
def test_of_what_waits_the_urgent_goes_first_and_the_nightly_last(pool: str) -> None:
    found = DECLARED["work_pools"][pool]
    assert {name: queue["priority"] for name, queue in found["queues"].items()} == {
        "urgent": 1,
        "default": 2,
        "nightly": 3,
    }
    assert found["limit"]


def on_server() -> dict[str, Any]:
    """All that deploy makes, as it is on the server; what a clock writes left out."""
    from prefect.client.orchestration import get_client

    clocks = {"updated", "last_polled", "status", "version", "version_id", "version_info"}
    with get_client(sync_client=True) as client:
        found = {
            "pools": client.read_work_pools(),
            "queues": client.read_work_queues(),
            "deployments": client.read_deployments(),
            "automations": client.read_automations(),
        }
    return {
        kind: {str(one.id): one.model_dump(mode="json", exclude=clocks) for one in listed}
        for kind, listed in found.items()
    }


def steady(made: dict[str, Any]) -> dict[str, Any]:
    """A schedule is written anew with its deployment: what it says is what counts."""
    for one in made["deployments"].values():
        one["schedules"] = [each["schedule"] for each in one["schedules"]]
        one["global_concurrency_limit"] = None
    return made


@pytest.mark.slow
def test_deploying_again_changes_nothing_and_a_pool_keeps_its_type(project: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from pipelines import deployment

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="gpu", type="kubernetes"))
    lines: list[str] = []
    deployment.deploy(lines.append)
    made = steady(on_server())
    deployment.deploy(lines.append)
    assert steady(on_server()) == made
    assert lines[:2] == lines[2:]
    assert "stage/gpu, train/by-hand, train/nightly" in lines[1]
    pools = {one["name"]: one for one in made["pools"].values()}
    assert pools["gpu"]["type"] == "kubernetes"
    assert pools["controller"]["type"] == "process"
    assert pools["gpu"]["concurrency_limit"] == DECLARED["work_pools"]["gpu"]["limit"]
    queues = {(one["work_pool_name"], one["name"]): one for one in made["queues"].values()}
    nightly = queues["controller", "nightly"]
    assert (nightly["priority"], nightly["concurrency_limit"]) == (3, 1)
    silent, late = sorted(made["automations"].values(), key=lambda one: one["trigger"]["within"])
    assert silent["trigger"]["within"] == deployment.SILENT_SECONDS
    assert late["trigger"]["within"] == deployment.FAR_SECONDS  # Kubernetes may need a machine


def test_a_deployment_that_prefect_refuses_is_one_line(
    project: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipelines import deployment

    (tmp_path / "infra").mkdir()
    broken = {**DECLARED["deployments"][0], "entrypoint": "pipelines.training.grow"}
    file = tmp_path / "infra" / "prefect.yaml"
    file.write_text(yaml.safe_dump({**DECLARED, "deployments": [broken]}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match=r"`prefect deploy` of infra/prefect.yaml failed: .*grow"):
        deployment.deploy()


@pytest.mark.parametrize(
    ("pools", "line"),
    [
        (
            {"cpu": {"description": "", "limit": 1, "queue": {}}},
            "cpu: .* queue is not a key",
        ),
        ({"cpu": {"description": "", "limit": -1, "queues": {}}}, "limit is -1; input should be"),
    ],
)
def test_a_mistake_in_a_pool_is_one_line(
    pools: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pipelines import deployment

    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match=r"no infra/prefect\.yaml here; run this in the folder"):
        deployment.declared()
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "prefect.yaml").write_text(yaml.safe_dump({"work_pools": pools}))
    with pytest.raises(StepError, match=line):
        deployment.declared()


def test_no_server_and_one_that_does_not_answer_are_told_in_one_line(project: None) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from pipelines import deployment

    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(StepError, match="no Prefect server is named; set PREFECT_API_URL"),
    ):
        deployment.deploy()
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(StepError, match=r"Prefect at http://127.0.0.1 does not answer \(.+\); set"),
    ):
        deployment.deploy()
