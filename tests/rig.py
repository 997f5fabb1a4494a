"""A fleet on this machine: an S3, and what `outplant up` starts in a project, for as long as asked.

with fleet(project, cpu=2) as rig: rig.outplant("train", "--fleet")
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import yaml
from moto.server import ThreadedMotoServer

from tests import projects

ROOT = Path(__file__).parent.parent
BUCKET = "fleet"
KEYS = {
    "AWS_ACCESS_KEY_ID": "worker",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Rig:
    """The project, and the environment in which its commands run."""

    def __init__(self, project: Path, settings: dict[str, str], counts: dict[str, int]) -> None:
        self.project, self.settings, self.counts = project, settings, counts

    def outplant(self, *arguments: str) -> str:
        """Run `outplant ...` and return all that it says; AssertionError with it where it fails."""
        return self.python("-c", "from pipelines.cli import app; app()", *arguments)

    def dvc(self, *arguments: str) -> str:
        """Run `dvc ...`."""
        return self.python("-m", "dvc", *arguments)

    def python(self, *arguments: str) -> str:
        """Run Python in the project."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.project,
            env=self.settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def known(self) -> dict[str, dict[str, Any]]:
        """What `outplant up` started, by name, dead or alive."""
        listed = json.loads((self.project / ".outplant/servers.json").read_text())
        return {one["name"]: one for one in listed}

    def up(self) -> str:
        """Start what does not run."""
        wanted = [f"--{pool}={number}" for pool, number in self.counts.items()]
        return self.outplant("up", *wanted)


@contextmanager
def fleet(project: Path, more: dict[str, str] | None = None, **counts: int) -> Iterator[Rig]:
    """Start an S3, make it the project's DVC remote, and start servers and workers."""
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    store.start()
    try:
        host, port = store.get_host_and_port()
        address = f"http://{host}:{port}"
        rig = Rig(project, settings(project) | (more or {}), counts)
        boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="worker", aws_secret_access_key="secret"
        ).create_bucket(Bucket=BUCKET)
        rig.dvc("remote", "add", "--force", "--default", "team", f"s3://{BUCKET}/dvc")
        rig.dvc("remote", "modify", "team", "endpointurl", address)
        projects.commit(project)
        try:
            rig.up()
            yield rig
        finally:
            rig.outplant("down")
    finally:
        store.stop()


def settings(project: Path) -> dict[str, str]:
    """Give the environment of the project's commands: its own code, nobody else's servers."""
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    binaries = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept | KEYS | {"PATH": binaries, "PYTHONPATH": str(project), "DVC_NO_ANALYTICS": "1"}


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def regraph(project: Path, stages: dict[str, dict[str, object]]) -> None:
    """Give a project another graph."""
    text = yaml.safe_dump({"stages": stages}, sort_keys=False)
    (project / "dvc.yaml").write_text(text)
