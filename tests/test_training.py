import asyncio
import logging
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import connection, stages, status
from steps.core.entry import StepError

ROOT = Path(__file__).parent.parent
ROW = status.Row("entities", "full", "span_f1", 0.5, 0.4, 0.6, (0.1, -0.1, 0.3), True, 3, "promote")


@pytest.fixture
def train(
    toy: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> Any:  # a toy has no tasks of which there could be a status
    from pipelines import training

    monkeypatch.setattr(status, "read", lambda: [ROW])
    return training.train


def task_runs(flow_run: uuid.UUID) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    async def ask() -> list[Any]:
        async with get_client() as client:
            only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
            return await client.read_task_runs(flow_run_filter=only)

    return asyncio.run(ask())


def test_each_stage_is_a_task_of_its_name_and_the_run_leaves_a_table(train: Any) -> None:
    from prefect.artifacts import Artifact

    state = train(return_state=True)
    assert {ran.stage for ran in state.result()} == {s.name for s in stages.read().stages}
    assert {ran.became for ran in state.result()} == {"ran"}
    runs = {run.name: run for run in task_runs(state.state_details.flow_run_id)}
    assert set(runs) == {"water", "soil", "plant@rose", "plant@leek", "sell"}
    assert "gpu" in runs["soil"].tags
    upstream = {run.id for run in runs["plant@rose"].task_inputs["wait_for"]}
    assert upstream == {runs["water"].id, runs["soil"].id}
    artifact = Artifact.get(key="train")
    assert artifact
    assert "| entities | full | span_f1 0.500 [0.400, 0.600] |" in str(artifact.data)
    assert "| plant@leek | ran |" in str(artifact.data)


def test_a_failing_stage_fails_the_run_with_its_own_line(train: Any, toy: Path) -> None:
    (toy / "earth.txt").write_text("weeds")
    with pytest.raises(StepError, match=r"stage soil failed: there are weeds in earth.txt; pull"):
        train()
    assert (toy / "ran.txt").read_text().split() == ["water.txt"]
    (toy / "earth.txt").write_text("earth")
    names = [ran.stage for ran in train()]
    assert (names[0], names[-1]) == ("soil", "sell")
    assert set(names[1:-1]) == {"plant@rose", "plant@leek"}


ADAPT = """
import json, shutil, sys
from pathlib import Path
from threading import Event

out, until = Path("models/rose"), sys.argv[1]
room = Path(".outplant/checkpoints/adapt-rose-0123456789abcdef")
room.mkdir(parents=True)
for step in range(1, 5):
    row = {"step": step, "tokens": step, "loss": 1 / step, "learning_rate": 0.1, "seconds": step}
    with (room / "history.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + chr(10))
    while step == 3 and not Path(until).exists():  # seen by the flow while this runs
        Event().wait(0.05)
out.mkdir(parents=True)
shutil.copy(room / "history.jsonl", out)
shutil.rmtree(room)
"""
GROWS = {
    "cmd": "python adapt.py mlflow.db",
    "deps": ["adapt.py", "soil.txt"],
    "outs": ["models/${item}"],
}


@pytest.fixture
def adapting(train: Any, toy: Path, monkeypatch: pytest.MonkeyPatch) -> list[logging.LogRecord]:
    """An adaptation in the toy; gives what its task will have logged."""
    from pipelines import history

    monkeypatch.setattr(history, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(history, "LAST_SECONDS", 60.0)  # machines are slow, shared
    graph = yaml.safe_load((toy / "dvc.yaml").read_text())
    graph["stages"]["adapt"] = {"foreach": ["rose"], "do": GROWS}
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    (toy / "adapt.py").write_text(ADAPT)
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    monkeypatch.setattr(logging.getLogger("prefect.task_runs"), "handlers", [handler])
    return found


def test_the_losses_of_an_adaptation_are_in_mlflow_while_it_runs(
    train: Any, adapting: list[logging.LogRecord]
) -> None:
    assert {ran.stage: ran.became for ran in train()}["adapt@rose"] == "ran"
    import mlflow
    from prefect.artifacts import Artifact

    progress = Artifact.get(key="adapt-rose")
    assert progress
    assert (progress.type, progress.data) == ("progress", 100.0)
    assert progress.description == "step 4 of 4, loss 0.250, 1 tokens/s"
    assert progress.created  # before MLflow had the losses, for which the stage waited
    assert progress.updated
    assert progress.created < progress.updated

    client = mlflow.MlflowClient(connection.address())
    (run,) = client.search_runs([client.get_experiment_by_name("adaptations").experiment_id])
    assert (run.info.run_name, run.info.status) == ("adapt-rose", "FINISHED")
    found = client.get_metric_history(run.info.run_id, "loss")
    assert [(item.step, item.value) for item in found] == [(n, 1 / n) for n in range(1, 5)]
    assert not [record for record in adapting if record.levelno >= logging.WARNING]


def test_a_run_goes_on_without_its_tracker_and_says_so_once(
    train: Any, toy: Path, adapting: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (toy / "dvc.yaml").write_text((toy / "dvc.yaml").read_text().replace("mlflow.db", "step.py"))
    assert {ran.stage: ran.became for ran in train()}["adapt@rose"] == "ran"
    (warning,) = (record for record in adapting if record.levelno >= logging.WARNING)
    assert "warning: MLflow at http://127.0.0.1 does not answer" in warning.getMessage()
    assert warning.module == "work"  # and so shown by show_lines
