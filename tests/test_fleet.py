"""Fleet mode without workers: what one would do, and what a controller asks of them."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import clones, stages
from pipelines.stages import Stage
from steps.core.entry import StepError, TryAgain
from tests.test_clones import commit

ROOT = Path(__file__).parent.parent
STEP = """
import sys
from pathlib import Path

out, *sources = sys.argv[1:]
text = " ".join(Path(source).read_text() for source in sources)
if "weeds" in text:
    sys.exit("error: there are weeds in " + out + "; pull them out")
with open("ran.log", "a") as log:
    log.write(out + " ")
Path(out).write_text(text.upper())
"""
GRAPH = {
    "water": {"cmd": "python step.py water rain", "deps": ["step.py", "rain"], "outs": ["water"]},
    "rose": {"cmd": "python step.py rose water", "deps": ["step.py", "water"], "outs": ["rose"]},
}


@pytest.fixture
def home(tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A controller's clone, in which the test stands, with a remote; where a worker's will be."""
    here = tmp_path / "controller"
    (here / "infra").mkdir(parents=True)
    (here / "infra/fleet.yaml").write_text((ROOT / "infra/fleet.yaml").read_text())
    (here / "dvc.yaml").write_text(yaml.safe_dump({"stages": GRAPH}))
    (here / "step.py").write_text(STEP)
    (here / "rain").write_text("rain")
    (here / ".gitignore").write_text(
        "/.outplant\n/.dvc/tmp\n/.dvc/cache\n/water\n/rose\n/ran.log\n"
    )
    monkeypatch.chdir(here)
    (here / ".dvc").mkdir()
    store = f"['remote \"store\"']\n    url = {tmp_path}/store\n"
    (here / ".dvc/config").write_text(f"[core]\n    remote = store\n{store}")
    subprocess.run(["git", "init", "-q"], check=True)
    commit(here)
    monkeypatch.setenv("OUTPLANT_REPOSITORY", str(here))
    return tmp_path / "worker"


@pytest.fixture
def worker(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Does what a worker does with an order of the controller's, in its own clone."""
    from pipelines import fleet

    controller = Path.cwd()

    def take(name: str, place: Path = home) -> Any:
        lock = {"schema": "2.0", "stages": stages.entries(["water", name])}
        given = {"name": name, "pool": "cpu", "commit": clones.head(), "lock": json.dumps(lock)}
        with monkeypatch.context() as patch:
            patch.setenv("OUTPLANT_HOME", str(place))
            state = fleet.stage(**given, return_state=True)
        os.chdir(controller)
        return state

    return take


def told(state: Any) -> tuple[str, str]:
    return str(state.type.value), str(state.name)


def replay(name: str) -> str:
    return stages.run(name, print, ["--pull"])


def test_a_controller_replays_what_a_worker_made(home: Path, worker: Any) -> None:
    assert told(worker("water")) == ("COMPLETED", "Ran")
    assert told(worker("water", home.with_name("other"))) == ("COMPLETED", "Restored")
    assert not Path("water").exists()
    assert replay("water") == "restored"
    assert told(worker("rose")) == ("COMPLETED", "Ran")
    assert replay("rose") == "restored"
    assert Path("rose").read_text() == "RAIN"
    assert not Path("ran.log").exists()
    assert stages.read().stale == {}
    assert told(worker("rose", home.with_name("other"))) == ("COMPLETED", "Unchanged")
    assert (home / "ran.log").read_text() == "water rose "
    assert not (home.with_name("other") / "ran.log").exists()


def test_a_worker_takes_the_newest_of_what_a_stage_reads(home: Path, worker: Any) -> None:
    """It has an older version of it from an earlier stage; another worker made the newer."""
    worker("water")
    replay("water")
    commit(Path.cwd(), rain="hail")
    worker("water", home.with_name("other"))
    replay("water")
    assert told(worker("rose")) == ("COMPLETED", "Ran")
    assert (home / "rose").read_text() == "HAIL"
    assert replay("rose") == "restored"


def test_a_users_error_is_the_runs_message(home: Path, worker: Any) -> None:
    commit(Path.cwd(), rain="weeds")
    state = worker("water")
    assert told(state) == ("FAILED", "Failed")
    assert state.message == "stage water failed: there are weeds in water; pull them out"


def test_what_may_pass_is_said_by_the_states_name(home: Path, worker: Any, tmp_path: Path) -> None:
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace(str(tmp_path / "store"), "/proc/none"))
    commit(Path.cwd())
    state = worker("water")
    assert told(state) == ("FAILED", "TryAgain")
    assert state.message.startswith("dvc push --run-cache water: ")
    assert "\n" not in state.message


# What a controller asks for


@pytest.fixture
def server(home: Path) -> Iterator[Any]:
    """A client of Prefect's server, which has the deployment stage/cpu, and no worker."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from pipelines import fleet

    with get_client(sync_client=True) as client:
        pool = f"pool-{uuid.uuid4()}"
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        for queue in ("urgent", "nightly"):
            client.create_work_queue(queue, work_pool_name=pool)
        flow = client.create_flow(fleet.stage)
        client.create_deployment(flow, "cpu", work_pool_name=pool, tags=["outplant"])
        yield client


def crew(queue: str = "nightly") -> Any:
    from pipelines import fleet

    return fleet.Crew(stages.read().affected(), queue)


def settle(client: Any, run: Any, state: Any) -> None:
    client.set_flow_run_state(run.id, state, force=True)


def test_an_order_that_goes_on_is_found_again_and_a_finished_one_is_made_anew(
    server: Any,
) -> None:
    from prefect.states import Completed, Failed, Running

    water = Stage("water", (), "cpu", False)
    first = crew()._order(server, water)
    assert first.name == "water"
    assert {"cpu", "outplant"} <= set(first.tags)
    assert first.parameters["commit"] == clones.head()
    assert server.read_work_queue(first.work_queue_id).name == "nightly"
    settle(server, first, Running())
    assert crew()._order(server, water).id == first.id
    settle(server, first, Failed())
    second = crew()._order(server, water)
    assert second.id != first.id
    assert crew("urgent")._order(server, water).id == second.id
    settle(server, second, Completed())
    assert crew()._order(server, water).id not in (first.id, second.id)
    commit(Path.cwd(), rain="hail")
    other = crew()._order(server, water)
    assert other.parameters["commit"] == clones.head()


def test_what_became_of_a_worker_is_what_became_of_the_stage(server: Any) -> None:
    from prefect.states import Cancelled, Completed, Crashed, Failed

    from pipelines import fleet

    water = Stage("water", (), "cpu", False)

    def became(state: Any) -> str:
        hands = crew()
        run = hands._order(server, water)
        settle(server, run, state)
        found = server.read_flow_run(run.id)
        return fleet._became("water", found)

    assert became(Completed(name="Restored")) == "restored"
    ends = [
        (Failed(message="stage water failed: weeds"), StepError, "stage water failed: weeds"),
        (Failed(name="TryAgain", message="no network"), TryAgain, "no network"),
        (Crashed(message="its process is gone"), TryAgain, "its process is gone"),
        (Cancelled(), StepError, "stage water was cancelled; run again to go on"),
    ]
    for state, kind, said in ends:
        with pytest.raises(StepError) as found:
            became(state)
        assert (type(found.value), str(found.value)) == (kind, said)


def test_a_run_that_someone_deleted_is_asked_for_again(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import fleet

    monkeypatch.setattr(fleet, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(fleet, "get_run_logger", lambda: None)
    hands = crew()
    run = hands._order(server, Stage("water", (), "cpu", False))
    server.delete_flow_run(run.id)
    with pytest.raises(TryAgain, match="the run of stage water was deleted"):
        hands._ended(server, run)


def test_a_server_without_our_deployments_is_one_line(server: Any) -> None:
    with pytest.raises(StepError, match=r"^Prefect has no stage/tpu; run `outplant deploy`$"):
        crew()._order(server, Stage("water", (), "tpu", False))


def test_a_controller_that_is_halted_leaves_its_stages_to_the_workers(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import fleet

    monkeypatch.setattr(fleet, "get_run_logger", lambda: None)
    hands = crew()
    run = hands._order(server, Stage("water", (), "cpu", False))
    hands.halted.set()
    with pytest.raises(StepError, match="stage water is left to its worker; the next run will"):
        hands._ended(server, run)
    assert not server.read_flow_run(run.id).state.is_final()


def test_a_fleet_needs_a_queue_a_remote_and_a_commit(home: Path) -> None:
    with pytest.raises(StepError, match="no queue 'nonsense'; there is: default, nightly, urgent"):
        crew("nonsense")
    Path("step.py").write_text("changed")
    with pytest.raises(StepError, match=r"^not as committed: step.py; workers see commits alone"):
        crew()
    Path(".dvc/config").write_text("")
    with pytest.raises(StepError, match="has no default DVC remote, and a fleet's workers meet"):
        crew()


def test_stages_that_read_this_machines_files_stay_here(home: Path) -> None:
    assert crew().away == {"water", "rose"}
    Path(".git/info/exclude").write_text("/rain\n")
    subprocess.run(["git", "rm", "-q", "--cached", "rain"], check=True)
    commit(Path.cwd())
    assert crew().away == {"rose"}
