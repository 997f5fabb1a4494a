"""MLflow down, slow or full: the stage ends well with a line, and the next run catches up."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines import connection, registry, status
from steps.core.params import load
from tests import tiny_project
from tests.tiny_project import STRONG, TASK, WEAK

BUNDLE, REPORT = Path("bundles") / TASK, Path("reports") / TASK
STAGE = ("-m", "steps.register", TASK, str(BUNDLE), str(REPORT))


class Full(BaseHTTPRequestHandler):
    """A server whose disk is full: it is well, and takes nothing."""

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/health" else 507)

    def do_POST(self) -> None:
        self.answer(507)

    def answer(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Slow(Full):
    """A server that says it is well and then answers nothing."""

    def answer(self, code: int) -> None:
        if code == 200:
            super().answer(code)
        else:
            self.rfile.read()  # until the client has had enough


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        tiny_project.make({"baseline": WEAK, "good": STRONG})
        tiny_project.commit()
        tiny_project.blank_registry(Path.cwd()).rename("mlflow.db")
        yield Path.cwd()


@pytest.fixture
def project(origin, tmp_path, monkeypatch):
    shutil.copytree(origin, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()
    return tmp_path / "copy"


@pytest.fixture
def silent() -> Iterator[str]:
    """A socket that accepts and stays silent."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(params=[Full, Slow], ids=["full", "slow"])
def server(request) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), request.param) as serving:
        serving.daemon_threads = True
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def run_stage(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tiny_project.REPOSITORY)} | settings
    return subprocess.run(
        [sys.executable, *STAGE], env=environment, capture_output=True, text=True, check=False
    )


def test_a_server_that_takes_nothing_costs_one_line_and_bounded_time(project, server):
    began = time.monotonic()
    settings = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}
    done = run_stage(MLFLOW_TRACKING_URI=server, **settings)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("warning: MLflow at http://127.0.0.1 does not answer")
    assert "changes is not registered yet; the next `dvc repro` will do it" in line
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("scheme", ["http", "postgresql", "mysql+pymysql"])
def test_what_accepts_and_stays_silent_is_down_within_seconds(silent, scheme, monkeypatch):
    monkeypatch.setattr(connection, "WAIT_SECONDS", 0.2)
    with pytest.raises(connection.Down, match=r"127\.0\.0\.1 does not answer"):
        connection.probe(f"{scheme}://{silent}/mlflow")


def test_no_request_may_hold_a_run_for_a_minute(monkeypatch):
    for name in connection.QUIET:
        monkeypatch.delenv(name, raising=False)
    connection.quiet()
    tries = int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) + 1
    assert tries * int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) < 60


@pytest.mark.parametrize(("kilobytes", "what"), [(40, "its database"), (1500, "an artifact")])
def test_a_full_disk_costs_one_line_and_the_next_run_catches_up(project, kilobytes, what):
    """No file may be larger than the database is, or than an artifact is to be."""
    (BUNDLE / "vocab.txt").write_text("word\n" * 400_000)
    tiny_project.commit()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, before[1]))
    try:
        done = run_stage()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "changes is not registered yet" in line
    assert registry.everything() == []
    assert status.pending() == [
        "changes: its bundle is not registered yet; `dvc repro` will do it",
    ]
    found = registry.register(TASK, BUNDLE, REPORT)
    assert (found["number"], found["added"]) == (1, True)
    assert status.pending() == []


def test_status_shows_its_table_where_mlflow_is_down(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert {row.recipe for row in status.read()} == {"baseline", "good"}
    (line,) = status.pending()
    assert line.endswith("what is registered is not known")


def test_without_a_bundle_nothing_is_pending(project):
    shutil.rmtree(BUNDLE)
    assert status.pending() == []
