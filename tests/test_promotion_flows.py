"""Promotion, rollback and the champion's check as flows: what the UI shows of a run is true."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import connection, promotion, registry
from steps.core.entry import StepError
from steps.core.params import load
from tests.tiny_project import TASK


@pytest.fixture
def flows(
    two_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> Any:
    """The flows, in a copy of the project to spoil, with retries that come at once."""
    shutil.copytree(two_versions, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()
    from pipelines import promotion_flows

    monkeypatch.setattr(promotion_flows.ask, "retry_delay_seconds", [0.0] * 3)
    return promotion_flows


def artifact(key: str) -> str:
    from prefect.artifacts import Artifact

    found = Artifact.get(key=key)
    assert found
    return str(found.data)


def tries(state: Any) -> dict[str, int]:
    """How often each task of a flow run was tried."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    async def ask() -> list[Any]:
        async with get_client() as client:
            only = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
            return await client.read_task_runs(flow_run_filter=only)

    return {run.name: run.run_count for run in asyncio.run(ask())}


def told(state: Any) -> tuple[str, str]:
    return str(state.type.value), str(state.name)


def test_a_promotion_tells_in_its_state_what_came_of_it(flows: Any) -> None:
    assert told(flows.promote(TASK, version=2, return_state=True)) == ("COMPLETED", "Promoted")
    refused = flows.promote(TASK, version=1, return_state=True)
    assert told(refused) == ("COMPLETED", "Refused")
    assert "is not promoted, refuse by: champion" in refused.message
    said = artifact(f"promote-{TASK}")
    assert said.startswith(f"## {TASK}: version 1 (baseline) is not promoted")
    assert "Verdict: **refuse**" in said
    assert "| fail | champion | better than the champion | refuse: -0" in said
    same = flows.promote(TASK, return_state=True)
    assert told(same) == ("COMPLETED", "Unchanged")
    assert registry.status(TASK)["champion"] == 2


def test_a_rollback_is_told_and_leaves_what_moved(flows: Any) -> None:
    for version in (1, 2):
        promotion.promote(TASK, version, False, "")
    state = flows.rollback(TASK, reason="slow", return_state=True)
    assert told(state) == ("COMPLETED", "Rolled back")
    assert "version 1 (baseline) is champion now; it was version 2" in artifact(f"rollback-{TASK}")
    assert promotion.history(TASK)[-1]["reason"] == "slow"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("promote", {"task": "chnges"}, "no task 'chnges' (did you mean 'changes'?)"),
        ("promote", {"task": TASK, "version": 9}, "no version 9 of changes; there is: 1, 2"),
        ("promote", {"task": TASK, "force": True}, "a forced promotion needs a reason"),
        ("rollback", {"task": TASK, "reason": " "}, "a rollback needs a reason"),
    ],
)
def test_a_users_mistake_fails_with_its_line_and_is_not_tried_again(
    flows: Any, name: str, given: dict[str, Any], said: str
) -> None:
    state = getattr(flows, name)(**given, return_state=True)
    assert told(state) == ("FAILED", "Failed")
    assert state.message.startswith(said)
    assert "\n" not in state.message
    assert tries(state) == {name: 1}


def test_a_server_that_does_not_answer_is_asked_again(
    flows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [connection.Down("MLflow does not answer"), connection.Down("MLflow does not answer")]
    settle = registry.settle

    def wakes(task: str) -> str:
        if silent:
            raise silent.pop()
        return settle(task)

    monkeypatch.setattr(registry, "settle", wakes)
    state = flows.promote(TASK, version=2, return_state=True)
    assert (told(state), tries(state)) == (("COMPLETED", "Promoted"), {"promote": 3})
    assert len(promotion.history(TASK)) == 1


def test_a_registry_that_stays_silent_fails_the_run(
    flows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    state = flows.champion_check(return_state=True)
    assert state.message.startswith("MLflow at http://127.0.0.1 does not answer")
    assert (told(state), tries(state)) == (("FAILED", "Failed"), {"champions": 4})


def test_champions_are_checked_as_tasks_of_one_run(flows: Any) -> None:
    none = flows.champion_check(return_state=True)
    assert told(none) == ("COMPLETED", "No champion")
    promotion.promote(TASK, 2, False, "")
    state = flows.champion_check(return_state=True)
    assert told(state) == ("COMPLETED", "Steady")
    assert state.message.startswith(f"{TASK}: version 2 (good) is steady: macro_f1 ")
    assert tries(state) == {"champions": 1, f"check-{TASK}": 1}
    said = artifact(f"champion-check-{TASK}")
    assert "| it is | steady |" in said
    assert f"`checks/{TASK}/check.html`" in said
    assert registry.status(TASK)["champion"] == 2


def test_a_champion_that_cannot_be_checked_fails_the_run_with_its_line(flows: Any) -> None:
    state = flows.champion_check(TASK, return_state=True)
    assert told(state) == ("FAILED", "Failed")
    assert f"{TASK} has no champion; run `outplant promote {TASK}`" in state.message
    with pytest.raises(StepError, match="has no champion"):
        flows.champion_check(TASK)


def test_each_parameter_has_its_help(flows: Any) -> None:
    for flow in (flows.promote, flows.rollback, flows.champion_check):
        fields = flow.parameters.properties
        assert fields
        assert all(field.get("description") for field in fields.values())
