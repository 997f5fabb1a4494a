"""How processes of this machine are started, found again and ended; each is a line of Python."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from pipelines import machine, servers, stages
from steps.core.entry import StepError
from tests import projects

LASTS = "import time; print('well', flush=True); time.sleep(600)"
# A child that turns away from its parent, which then dies
LEAVES = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {LASTS!r}], start_new_session=True).pid, flush=True)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in (*servers.ADDRESSES.values(), "CUDA_VISIBLE_DEVICES", "OUTPLANT_DVC_CACHE"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    servers.stop(servers.known())


def wanted(name: str, code: str, ready: str = "well") -> servers.Wanted:
    return servers.Wanted(name, [sys.executable, "-c", code], {}, Path.cwd(), ready)


def quiet(_line: str) -> None:
    """Say nothing."""


def test_what_ends_before_it_is_ready_is_told_by_the_last_line_of_its_log(folder: Path) -> None:
    ends = wanted("mlflow", "print('a'); print('no such table: soil')")
    with pytest.raises(StepError, match=r"mlflow did not start: no such table: soil \(all of it: "):
        servers.wait(ends, servers.start(ends), quiet)
    assert servers.running() == {}


def test_what_runs_is_known_by_pid_and_time_and_no_other_process_is_taken_for_it(
    folder: Path,
) -> None:
    lasts = wanted("cpu-1", LASTS)
    lines: list[str] = []
    servers.wait(lasts, servers.start(lasts), lines.append)
    assert lines[-1].startswith("cpu-1: ready after ")
    (known,) = json.loads(servers.STATE.read_text())
    assert servers.running()["cpu-1"].pid == known["pid"]
    servers.STATE.write_text(json.dumps([known | {"began": known["began"] - 60}]))
    assert servers.running() == {}
    servers.STATE.write_text(json.dumps([known | {"pid": os.getpid()}]))
    assert servers.running() == {}  # or else we would end ourselves
    servers.STATE.write_text(json.dumps([known]))
    assert servers.stop(["cpu-1"]) == 1
    assert not servers.STATE.exists()
    assert not psutil.pid_exists(known["pid"]) or psutil.Process(known["pid"]).status() == "zombie"


def test_what_was_left_behind_by_one_that_died_is_ended_too(folder: Path) -> None:
    leaves = wanted("controller", LEAVES, "\n")
    servers.wait(leaves, servers.start(leaves), quiet)
    orphan = psutil.Process(int(leaves.log.read_text().split()[0]))
    lines: list[str] = []
    machine.down(lines.append)
    assert lines == ["stopped 1 process that they had started"]
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    machine.down(lines.append)
    assert lines[-1] == "nothing is running"


def test_one_up_or_down_at_a_time(folder: Path) -> None:
    code = "from pipelines import servers, machine\nwith servers.alone(): machine.down(print)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another `outplant up` or `down` is at work here" in done.stderr


def test_a_port_that_is_taken_is_not_used() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = taken.getsockname()[1]
        assert servers.port(usual) != usual
    assert servers.port(usual) == usual


class Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/health") else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of a server that someone else runs."""
    with HTTPServer(("127.0.0.1", 0), Well) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_the_environment_names_is_used_where_it_answers(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    assert machine.server("mlflow", lines.append) is None
    assert lines == ["mlflow: MLFLOW_TRACKING_URI names one, which is used: http://127.0.0.1"]
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.invalid:4200/api")
    with pytest.raises(StepError, match=r"URL names http://prefect\.invalid, which does"):
        machine.server("prefect", lines.append)


def test_a_shell_that_knows_a_stopped_server_gets_it_at_that_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = servers.port(0)
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free}/api")
    found = machine.server("prefect", quiet)
    assert found
    assert found.address == f"http://127.0.0.1:{free}/api"
    assert found.environment["PREFECT_HOME"] == str(Path(".outplant/prefect").absolute())


def test_a_server_that_died_is_started_where_its_workers_look_for_it(folder: Path) -> None:
    ends = wanted("prefect", "")
    at = f"http://127.0.0.1:{servers.port(0)}/api"
    servers.start(dataclasses.replace(ends, address=at))
    found = machine.server("prefect", quiet)
    assert found
    assert found.address == at
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", urlsplit(at).port))
        taken.listen()
        with pytest.raises(StepError, match="which is taken now; `outplant down` first"):
            machine.server("prefect", quiet)


def test_a_password_of_the_registrys_database_is_no_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://outplant:planted@127.0.0.1/mlflow")
    found = machine.server("mlflow", quiet)
    assert found
    assert "planted" not in " ".join(found.command)
    assert "planted" in found.environment["MLFLOW_BACKEND_STORE_URI"]


def test_each_gpu_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = machine.clones({"cpu": 1, "gpu": 2})
    assert names == ["cpu-1", "gpu-1", "gpu-2"]
    found = [machine.worker(name, Path.cwd()).environment for name in names]
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in found] == [None, "0", "1"]
    assert {one["OUTPLANT_DVC_CACHE"] for one in found} == {str(Path(".outplant/cache").absolute())}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert machine.worker("gpu-2", Path.cwd()).environment["CUDA_VISIBLE_DEVICES"] == "7"
    with pytest.raises(StepError, match=r"gpu-3 .* CUDA_VISIBLE_DEVICES has 2"):
        machine.worker("gpu-3", Path.cwd())


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "-q", *arguments], check=True)


def test_a_worker_has_a_clone_that_hands_over_through_the_same_remote(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = projects.toy(folder / "toy")
    monkeypatch.chdir(home)
    with pytest.raises(StepError, match=r"no default DVC remote, .* `dvc remote add --default"):
        machine.clone("cpu-1", quiet)
    dvc("remote", "add", "--default", "store", "../store")
    projects.commit(home)
    dvc("remote", "modify", "--local", "store", "verify", "true")  # as a login would be
    lines: list[str] = []
    made = machine.clone("cpu-1", lines.append)
    assert machine.clone("cpu-1", lines.append) == made == home / ".outplant/workers/cpu-1"
    assert lines == ["cpu-1: cloning into .outplant/workers/cpu-1"]
    assert "verify = true" in (made / ".dvc/config.local").read_text()
    assert stages.remote(made) == stages.remote(home) == ("store", str(folder / "store"))
    changed = ["git", "status", "--porcelain"]
    assert subprocess.run(changed, cwd=made, capture_output=True, check=True).stdout == b""
