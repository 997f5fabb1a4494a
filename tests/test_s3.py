"""An S3 endpoint of one's own: a DVC remote, and a source that is watched there."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from steps.core.files import digest

BIN = Path(sys.executable).parent


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    (tmp_path / "aws").touch()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    client = boto3.client("s3")
    client.create_bucket(Bucket="outplant")
    yield client
    server.stop()


def call(folder: Path, *command: str) -> str:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env=environment, check=False, **said)
    assert done.returncode == 0, done.stdout
    return done.stdout


def project(folder: Path, stage: dict) -> Path:
    folder.mkdir()
    call(folder, "git", "init", "--quiet")
    call(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    return folder


def commit(folder: Path) -> None:
    call(folder, "git", "add", ".")
    call(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "made")


def test_what_one_clone_pushes_another_pulls_byte_for_byte(tmp_path, bucket):
    script = "from pathlib import Path; p = Path('out'); p.mkdir(); "
    script += "[(p / str(n)).write_bytes(bytes(range(n))) for n in range(5)]"
    here = project(tmp_path / "here", {"cmd": f'python -c "{script}"', "outs": ["out"]})
    call(here, "dvc", "remote", "add", "--default", "team", "s3://outplant/cache")
    call(here, "dvc", "repro")
    call(here, "dvc", "push", "--run-cache")
    commit(here)
    there = tmp_path / "there"
    call(tmp_path, "git", "clone", "--quiet", str(here), str(there))
    call(there, "dvc", "pull", "--run-cache")
    assert len(list((there / "out").iterdir())) == 5
    assert digest(there / "out") == digest(here / "out")
    assert "up to date" in call(there, "dvc", "status")


def test_a_stage_is_run_again_when_its_source_on_s3_changes(tmp_path, bucket):
    script = "import boto3, os; from pathlib import Path; s3 = boto3.client('s3'); "
    script += "found = s3.list_objects_v2(Bucket='outplant', Prefix='field/')['Contents']; "
    script += "Path('names.txt').write_text(' '.join(o['Key'] for o in found))"
    bucket.put_object(Bucket="outplant", Key="field/a.txt", Body=b"one")
    stage = {
        "cmd": f'python -c "{script}"',
        "deps": ["s3://outplant/field"],
        "outs": ["names.txt"],
    }
    here = project(tmp_path / "here", stage)
    call(here, "dvc", "repro")
    assert (here / "names.txt").read_text() == "field/a.txt"
    assert "up to date" in call(here, "dvc", "status")
    bucket.put_object(Bucket="outplant", Key="field/b.txt", Body=b"two")
    call(here, "dvc", "repro")
    assert (here / "names.txt").read_text() == "field/a.txt field/b.txt"
