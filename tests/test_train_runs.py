"""Flow `train` through what may happen: stages side by side, failures, budgets, signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import closing, connection, pools, stages, status
from pipelines.stages import Graph, Ran, Stage
from steps.core.entry import StepError
from tests.test_leash import alive, family, members, until
from tests.test_training import ROW, task_runs

ROOT = Path(__file__).parent.parent


@pytest.fixture
def training(toy: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with retries that come at once, in the toy."""
    from pipelines import training as module

    monkeypatch.setattr(status, "read", lambda: [ROW])
    monkeypatch.setattr(module.run_stage, "retries", 2)
    monkeypatch.setattr(module.run_stage, "retry_delay_seconds", [0.0])
    return module


def graph(toy: Path, **commands: str) -> None:
    """Make dvc.yaml one of stages that run Python, each with an out of its name; `a_b` reads a."""
    made = {}
    for name, script in commands.items():
        (toy / f"{name}.py").write_text(script)
        deps = [f"{name}.py", *name.split("_")[:-1]]
        made[name] = {"cmd": f"python {name}.py", "deps": deps, "outs": [name]}
    (toy / "dvc.yaml").write_text(yaml.safe_dump({"stages": made}, sort_keys=False))


def writing(name: str, text: str = "'text'", first: str = "") -> str:
    return f"import os, sys\nfrom pathlib import Path\n{first}\nPath('{name}').write_text({text})\n"


def failing(code: int) -> str:
    return f"import sys; print('error: there are weeds'); sys.exit({code})"


def pool(**settings: Any) -> None:
    """Set something of pool cpu."""
    said = yaml.safe_load(pools.FLEET.read_text())
    said["pools"]["cpu"] |= settings
    pools.FLEET.write_text(yaml.safe_dump(said))


def ends(state: Any) -> dict[str, tuple[str, int]]:
    """How each task of a flow run ended, and after how many tries."""
    runs = task_runs(state.state_details.flow_run_id)
    return {run.name: (run.state_name, run.run_count) for run in runs}


WAIT = """
from time import monotonic, sleep
Path("{0}.here").touch()
deadline = monotonic() + 60
while not Path("{1}.here").exists():
    assert monotonic() < deadline
    sleep(0.02)
"""
ALONE = "os.mkdir('room')\n__import__('time').sleep(0.1)\nos.rmdir('room')"


def test_independent_stages_run_at_once(training: Any, toy: Path) -> None:
    """Each waits for the other to begin."""
    pool(at_once=2)
    graph(toy, **{a: writing(a, first=WAIT.format(a, b)) for a, b in ("ab", "ba")})
    assert [ran.became for ran in training.train()] == ["ran"] * 2


def test_no_more_stages_of_a_pool_run_at_once_than_it_has_room_for(
    training: Any, toy: Path
) -> None:
    pool(at_once=1)
    graph(toy, **{name: writing(name, first=ALONE) for name in "ab"})
    assert [ran.became for ran in training.train()] == ["ran"] * 2


def test_a_failure_leaves_out_what_waits_for_it_and_all_else_runs(training: Any, toy: Path) -> None:
    good = {name: writing(name) for name in ("b", "b_c", "a_d")}
    graph(toy, a=failing(1), **good)
    state = training.train(return_state=True)
    assert state.name == "Failed"
    assert state.message.startswith("stage a failed: there are weeds")
    assert ends(state) == {"a": ("Failed", 1), "b": ("Ran", 1), "b_c": ("Ran", 1)}
    (toy / "a.py").write_text(writing("a"))
    again = training.train(return_state=True)
    assert again.message == "2 ran, 0 restored, 2 unchanged"
    assert set(ends(again)) == {"a", "a_d"}


def test_what_may_pass_is_tried_again_and_what_a_user_has_to_mend_is_not(
    training: Any, toy: Path
) -> None:
    once = "flag = Path('{0}.tried')\nif not flag.exists():\n    flag.touch()\n    {1}"
    passing = writing("a", first=once.format("a", "sys.exit(75)"))
    killed = writing("b", first=once.format("b", "os.kill(os.getpid(), 9)"))
    graph(toy, a=passing, b=killed, c=failing(75), d=failing(1))
    state = training.train(return_state=True)
    assert ends(state) == {
        "a": ("Ran", 2),
        "b": ("Ran", 2),
        "c": ("Failed", 3),
        "d": ("Failed", 1),
    }
    assert all(f"stage {name} failed: there are weeds" in state.message for name in "cd")
    assert "\n" not in state.message
    assert set(pools.times()) == {"a", "b"}


def test_states_are_named_by_what_became_of_the_stages(training: Any, toy: Path) -> None:
    same = writing("a", "Path('in').read_text().upper()")
    graph(toy, a=same, a_b=writing("a_b"), c=writing("c"))
    said = yaml.safe_load((toy / "dvc.yaml").read_text())
    said["stages"]["a"]["deps"].append("in")
    (toy / "dvc.yaml").write_text(yaml.safe_dump(said))
    (toy / "in").write_text("rain")
    training.train()
    (toy / "in").write_text("Rain")
    (toy / "c").unlink()
    state = training.train(return_state=True)
    assert {name: end[0] for name, end in ends(state).items()} == {
        "a": "Ran",
        "a_b": "Unchanged",
        "c": "Restored",
    }
    assert state.message == "1 ran, 1 restored, 1 unchanged"
    nothing = training.train(return_state=True)
    assert (nothing.name, nothing.message) == ("Completed", "nothing is stale in 3 stages")
    assert ends(nothing) == {}


def test_a_stage_over_budget_is_not_started_and_all_else_runs(training: Any, toy: Path) -> None:
    graph(toy, a=writing("a"), a_b=writing("a_b"), c=writing("c"))
    pool(budget_minutes=5)
    pools.TIMES.parent.mkdir(exist_ok=True)
    pools.TIMES.write_text(json.dumps({"stage": "a", "seconds": 360}) + "\n")
    state = training.train(return_state=True)
    assert state.message.startswith("stage a is not started: expected to take 6.0 minutes of cpu")
    assert ends(state) == {"c": ("Ran", 1)}


def test_a_pools_launcher_and_a_lock_on_a_branch(training: Any, toy: Path) -> None:
    graph(toy, a=writing("a", "os.environ['OUTPLANT_LAUNCH']"))
    pool(launch="torchrun --standalone")
    training.train(branch="lock")
    assert (toy / "a").read_text() == "torchrun --standalone"
    log = ["git", "log", "-1", "--format=%s", "--name-only", "lock"]
    said = subprocess.run(log, cwd=toy, check=True, capture_output=True, text=True).stdout
    assert said.split("\n\n") == ["Train: 1 ran, 0 restored, 0 unchanged", "dvc.lock\n"]


def test_a_run_beside_another_is_one_line(training: Any, toy: Path) -> None:
    from pipelines import clones

    with clones.alone():
        state = training.train(return_state=True)
    assert state.name == "Failed"
    assert state.message.startswith("another run is at work in ")


def test_a_mistake_in_the_fleets_file_is_one_line(training: Any, toy: Path) -> None:
    pools.FLEET.write_text("pools: {")
    state = training.train(return_state=True)
    assert state.message.startswith("infra/fleet.yaml is not YAML: ")
    assert "\n" not in state.message


TRAIN = """
import sys
from pipelines import leash, status, training
leash.GRACE_SECONDS, status.read = 1.0, list
training.train()
"""


def test_a_run_that_is_asked_to_end_ends_its_stages_and_says_so(training: Any, toy: Path) -> None:
    from prefect.settings import get_current_settings

    graph(toy, a=family(deaf=True), b=failing(75))  # b waits to be tried again
    url = {"PREFECT_API_URL": str(get_current_settings().api.url), "PYTHONPATH": str(ROOT)}
    flow = subprocess.Popen([sys.executable, "-c", TRAIN], env=os.environ | url, cwd=toy)
    with flow:
        try:
            both = members(toy)
            flow.send_signal(signal.SIGTERM)
            until(lambda: not any(map(alive, both)))
            assert flow.wait(90)
        finally:
            flow.kill()
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        run = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0]
    assert run.state
    assert run.state.is_crashed()
    assert "termination signal" in str(run.state.message)
    assert stages.read().stale.keys() == {"a", "b"}


def test_the_report_says_where_the_minutes_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "read", lambda: [ROW])
    done = [
        Ran("adapt@a", "ran", 90.0),
        Ran("adapt@b", "ran", 60.0),
        Ran("split@t", "restored", 3.0),
    ]
    said = closing.report("2 ran, 1 restored, 0 unchanged", done)
    assert said.startswith("**2 ran, 1 restored, 0 unchanged**")
    assert "| adapt | 2 | 2.5 |" in said
    assert "| split@t | restored | 0.1 |" in said
    assert "| entities | full | span_f1 0.500 [0.400, 0.600] |" in said


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (
            "http://ada:s3cr@t@127.0.0.1:5000/",
            "- registry: [MLflow](http://127.0.0.1:5000/#/models)",
        ),
        ("postgresql://ada:s3cret@db:5432/mlflow", "- registry: `postgresql://db:5432/mlflow`"),
    ],
)
def test_the_reports_links_lead_there_and_have_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(status, "read", lambda: [ROW])
    monkeypatch.setenv(connection.TRACKING, address)
    for page in ("reports/entities/report.html", "data/validation/entities/docs/index.html"):
        (tmp_path / page).parent.mkdir(parents=True)
        (tmp_path / page).touch()
    said = closing.report("", [])
    assert shown in said.splitlines()
    assert f"- `{tmp_path}/reports/entities/report.html`" in said
    assert f"- `{tmp_path}/data/validation/entities/docs/index.html`" in said
    assert "s3cr" not in said


def test_the_summary_counts_what_is_not_in_the_run_as_unchanged() -> None:
    every = tuple(Stage(name, (), "cpu", name == "d") for name in "abcd")
    some = Graph(every, {"a": "stale", "d": "always"})
    assert closing.summary(some, [Ran("a", "ran", 1.0)]) == "1 ran, 0 restored, 3 unchanged"
    none = Graph(every, {"d": "always"})
    assert closing.summary(none, [Ran("d", "ran", 1.0)]) == "nothing is stale in 4 stages"


def told(work: Callable[[], Any]) -> str:
    with pytest.raises(StepError) as found:
        work()
    return str(found.value)


def test_an_unknown_queue_is_one_line(training: Any, toy: Path) -> None:
    stages.call(["remote", "add", "-q", "--default", "store", "../store"], print)
    said = told(lambda: training.train(fleet=True, queue="nonsense"))
    assert said == "no queue 'nonsense'; there is: default, nightly, urgent"
