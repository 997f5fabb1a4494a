"""Servers of one's own on this machine, each in a process group that ends with the test."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).parents[1]
START_SECONDS = 180.0
Settings = dict[str, str]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens_on(address: str) -> set[str]:
    """The addresses of this machine at which the port of a URL is open."""
    port = urlsplit(address).port
    return {
        line.laddr.ip
        for line in psutil.net_connections("inet")
        if line.status == psutil.CONN_LISTEN and line.laddr.port == port
    }


@contextlib.contextmanager
def running(command: list[str], folder: Path, settings: Settings, health: str) -> Iterator[Path]:
    """Run `python -m COMMAND` until this is left, its log in a file; wait until it is well."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=os.environ | settings,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, health, log)
        yield log
    finally:
        for order in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, order)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)


@contextlib.contextmanager
def mlflow(folder: Path, password: str) -> Iterator[str]:
    """MLflow that asks for a login; gives its address. The admin is `admin`."""
    port = free_port()
    users = (ROOT / "infra/kubernetes/basic_auth.ini").read_text()
    folder.mkdir(parents=True)
    (folder / "basic_auth.ini").write_text(
        users.replace("postgresql+psycopg2:///mlflow_auth", f"sqlite:///{folder}/users.db")
    )
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": f"{folder}/basic_auth.ini",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-this-test-alone",
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": f"{folder}/artifacts",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [
        "mlflow",
        "server",
        "--app-name",
        "basic-auth",
        "--workers",
        "1",
        "--port",
        str(port),
    ]
    address = f"http://127.0.0.1:{port}"
    with running(command, folder, settings, f"{address}/health"):
        yield address


@contextlib.contextmanager
def prefect(folder: Path, login: str) -> Iterator[str]:
    """Prefect that asks for a login, USER:PASSWORD; gives the address of its API."""
    port = free_port()
    settings = {"PREFECT_SERVER_API_AUTH_STRING": login, "PREFECT_HOME": str(folder)}
    command = ["prefect", "server", "start", "--port", str(port)]
    address = f"http://127.0.0.1:{port}/api"
    with running(command, folder, settings, f"{address}/health"):
        yield address


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(health, timeout=2).close()
            return
        except OSError:
            Event().wait(0.1)
    raise AssertionError(f"no answer at {health}: {log.read_text()[-2000:]}")
