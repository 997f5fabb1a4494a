"""One start of real servers and a worker, on a toy project, for all tests of this file in order."""

import base64
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipelines import servers
from tests import projects

ROOT = Path(__file__).parent.parent
SECRET = "gardener:planted-7f3a"
HOLD = """
import time
from pathlib import Path
while Path("hold").exists():
    Path("held").touch()
    time.sleep(0.1)
"""
OFTEN = {
    "name": "often",
    "entrypoint": "pipelines.training.train",
    "schedules": [{"cron": "* * * * * */10", "timezone": "UTC", "active": True}],
    "work_pool": {"name": "controller", "work_queue_name": "nightly"},
    "tags": ["outplant"],
}


@dataclass(frozen=True)
class Machine:
    """A folder in which `outplant up` was run, and what it printed."""

    folder: Path
    said: str

    def outplant(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return outplant(self.folder, *arguments, **settings)

    def pids(self) -> dict[str, int]:
        known = json.loads((self.folder / servers.STATE).read_text())
        return {one["name"]: one["pid"] for one in known}

    def url(self, name: str) -> str:
        return next(line.split()[1] for line in self.said.splitlines() if line.startswith(name))

    def ask(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """Ask the Prefect server."""
        login = base64.b64encode(SECRET.encode()).decode()
        request = urllib.request.Request(
            f"{self.url('prefect')}/api/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {login}"},
            method=method,
        )
        return until(lambda: answered(request))[0]

    def runs(self, *states: str) -> list[Any]:
        wanted = {"flow_runs": {"state": {"name": {"any_": states}}}}
        return list(self.ask("flow_runs/filter", wanted))

    def run(self, deployment: str, **settings: Any) -> str:
        """Start a run of a deployment; return its id."""
        found = self.ask(f"deployments/name/{deployment}", method="GET")
        return str(self.ask(f"deployments/{found['id']}/create_flow_run", settings)["id"])

    def state(self, run: str) -> str:
        return str(self.ask(f"flow_runs/{run}", method="GET")["state"]["name"])


def outplant(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pipelines.cli import app; app()", *arguments]
    around = {"PYTHONPATH": str(ROOT), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    around |= {"PREFECT_SERVER_API_AUTH_STRING": SECRET} | settings
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | around, check=False
    )


def until(seen: Callable[[], Any], seconds: float = 120) -> Any:
    """Poll until it is true; return what it is."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.2)
    return found


def answered(request: urllib.request.Request) -> tuple[Any] | None:
    """What a server says; None where its SQLite is busy, which it says by a 503."""
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return (json.loads(answer.read() or b"null"),)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 503:
            raise
        return None


def of(folder: Path) -> list[psutil.Process]:
    """All processes that belong to the servers of that folder, however they were left behind."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(servers.MARK, "").startswith(f"{folder}/"):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return [one for one in found if one.status() != psutil.STATUS_ZOMBIE]


def project(folder: Path) -> Path:
    """The toy, with params, our deployments, and a stage that lasts while there is a `hold`."""
    projects.toy(folder)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    shutil.copytree(ROOT / "infra" / "demo", folder / "infra" / "demo")
    shutil.copy(ROOT / "infra" / "prefect.yaml", folder / "infra")
    (folder / "hold.py").write_text(HOLD)
    graph = yaml.safe_load((folder / "dvc.yaml").read_text())
    graph["stages"]["hold"] = {"cmd": "python hold.py", "always_changed": True}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    (folder / ".gitignore").write_text("/*.txt\n/sold\n/hold\n/held\n/.outplant\n/mlflow.db\n")
    return projects.commit(folder)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = project(tmp_path_factory.mktemp("machine") / "toy")
    try:
        done = outplant(folder, "up")
        assert done.returncode == 0, done.stderr
        yield Machine(folder, done.stdout)
    finally:
        outplant(folder, "down")


def test_up_says_where_all_is_and_what_a_shell_needs(up: Machine) -> None:
    assert set(up.pids()) == {"prefect", "mlflow", "controller"}
    (exports,) = re.findall("(?m)^export (.*)  #", up.said)
    assert exports.split() == [
        f"PREFECT_API_URL={up.url('prefect')}/api",
        f"MLFLOW_TRACKING_URI={up.url('mlflow')}",
    ]
    for name in ("prefect", "mlflow"):
        (listening,) = {
            line.laddr.ip
            for process in [
                psutil.Process(up.pids()[name]),
                *psutil.Process(up.pids()[name]).children(),
            ]
            for line in process.net_connections("tcp")
            if line.status == psutil.CONN_LISTEN and f":{line.laddr.port}" in up.url(name)
        }
        assert listening == "127.0.0.1"
    assert "up" not in {one["name"] for one in up.ask("work_pools/filter", {})}


def up_again(up: Machine) -> subprocess.CompletedProcess[str]:
    """A second `outplant up`, that finds one deployment more: it runs each ten seconds."""
    file = up.folder / "infra" / "prefect.yaml"
    declared = yaml.safe_load(file.read_text()) | {"deployments": [OFTEN]}
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    done = up.outplant("up")
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_a_second_up_starts_only_what_died(up: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = up.pids()
    os.kill(before["controller"], signal.SIGKILL)
    done = up_again(up)
    assert "prefect: runs already" in done.stderr
    assert "controller: ready" in done.stderr
    assert up.pids()["controller"] != before["controller"]
    assert up.pids() | {"controller": 0} == before | {"controller": 0}
    monkeypatch.chdir(up.folder)
    assert servers.here() == {
        "PREFECT_API_URL": f"{up.url('prefect')}/api",
        "MLFLOW_TRACKING_URI": up.url("mlflow"),
    }


@pytest.mark.slow
def test_a_run_of_a_cron_schedule_appears_and_completes(up: Machine) -> None:
    if "often" not in (up.folder / "infra" / "prefect.yaml").read_text():
        up_again(up)  # where this test is run alone
    (run, *_) = until(lambda: up.runs("Completed"))
    assert run["auto_scheduled"]
    assert (up.folder / "sold").exists()
    shutil.copy(ROOT / "infra" / "prefect.yaml", up.folder / "infra")
    up.ask(f"deployments/{run['deployment_id']}", method="DELETE")  # no more of these
    until(lambda: not up.runs("Running", "Pending", "Submitting"))


def test_a_wrong_login_is_one_line(up: Machine) -> None:
    done = up.outplant("deploy", PREFECT_API_AUTH_STRING="gardener:wrong")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "refuses with 401; set PREFECT_API_AUTH_STRING" in done.stderr


def test_the_login_is_in_no_log_and_no_argument(up: Machine) -> None:
    for file in [*(up.folder / ".outplant" / "logs").iterdir(), up.folder / servers.STATE]:
        assert SECRET not in file.read_text()
    assert SECRET not in up.said
    assert not [one for one in of(up.folder) if SECRET in " ".join(one.cmdline())]


def held(up: Machine, deployment: str) -> str:
    """Start a run and wait until its stage is at work, where it stays."""
    (up.folder / "held").unlink(missing_ok=True)
    (up.folder / "hold").touch()
    run = up.run(deployment)
    until((up.folder / "held").exists)
    return run


@pytest.mark.slow
def test_a_run_whose_flow_and_worker_were_killed_is_crashed_and_holds_no_slot(up: Machine) -> None:
    run = held(up, "train/by-hand")
    next_run = up.run("train/by-hand")
    taken = up.run("train/nightly", state={"type": "PENDING", "name": "Submitting"})  # and left
    worker = psutil.Process(up.pids()["controller"])
    for process in [worker, *worker.children(recursive=True)]:
        process.kill()
    (up.folder / "hold").unlink()
    assert up.outplant("up").returncode == 0
    assert up.state(run) == "Running"
    assert up.state(next_run) in {"Scheduled", "Late"}
    until(lambda: up.state(run) == "Crashed", 360)
    until(lambda: up.state(next_run) == "Completed")
    until(lambda: up.state(taken) == "Crashed")


@pytest.mark.slow
def test_a_server_that_was_killed_and_started_again_ends_no_run(up: Machine) -> None:
    run = held(up, "train/by-hand")
    os.kill(up.pids()["prefect"], signal.SIGKILL)
    assert up.outplant("up").returncode == 0
    until_silent = time.monotonic() + 200  # longer than a run may be silent
    while time.monotonic() < until_silent:
        assert up.state(run) == "Running"
        time.sleep(1)
    (up.folder / "hold").unlink()
    until(lambda: up.state(run) == "Completed")


def test_down_leaves_no_orphan_and_no_run_that_seems_to_be_at_work(up: Machine) -> None:
    run = held(up, "train/by-hand")
    taken = up.run("train/nightly", state={"type": "PENDING", "name": "Submitting"})
    os.kill(up.pids()["controller"], signal.SIGKILL)  # which leaves flow and stage behind
    done = up.outplant("down")
    assert "stopped prefect, mlflow\n" in done.stdout
    assert re.search(r"stopped \d+ process(es)? that they had started\n", done.stdout)
    assert of(up.folder) == []
    assert not (up.folder / servers.STATE).exists()
    with sqlite3.connect(up.folder / ".outplant" / "prefect" / "prefect.db") as database:
        states = dict(database.execute("SELECT id, state_name FROM flow_run").fetchall())
    database.close()
    assert (states[run], states[taken]) == ("Crashed", "Crashed")
    again = up.outplant("down")
    assert (again.returncode, again.stdout) == (0, "nothing is running\n")
