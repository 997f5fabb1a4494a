"""infra/s3: what each may do in the bucket, tried on an S3 that knows users and refuses.

It looks at no conditions: which prefixes are listed is held against the policy by us.
"""

import copy
import fnmatch
import json
import os
import re
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import settings
from moto.server import ThreadedMotoServer

from tests import projects
from tests.test_s3 import Storm
from tests.tiny_project import dvc

FOLDER = Path("infra/s3").absolute()
POLICIES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
Document = dict[str, Any]
GRAPH = "stages: {water: {cmd: cp rain.txt water.txt, deps: [rain.txt], outs: [water.txt]}}\n"
MISTAKES: dict[str, Callable[[Document], object]] = {
    "another version": lambda policy: policy.update(Version="2026-01-01"),
    "an unknown key": lambda policy: policy["Statement"][0].update(Allow="all"),
    "no effect": lambda policy: policy["Statement"][0].pop("Effect"),
    "no action": lambda policy: policy["Statement"][0].pop("Action"),
    "no statement": lambda policy: policy.pop("Statement"),
    "a resource that is none": lambda policy: policy["Statement"][0].update(Resource="outplant"),
}


class Place:
    """An S3 with users; `seen`: lines of requests, `METHOD /path?query`."""

    def __init__(self, address: str, storm: Storm) -> None:
        self.address, self.seen = address, storm.seen
        self._users = 0

    def user(self, policy: Document) -> dict[str, str]:
        """Make a user with a policy; give the environment of who has its keys."""
        self._users += 1
        name = f"user-{self._users}"
        iam = boto3.client("iam")
        iam.create_user(UserName=name)
        document = json.dumps(policy)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }

    def look(self) -> None:
        """Begin to look who comes."""
        plain = {"Content-Type": "text/plain"}
        reset = urllib.request.Request(f"{self.address}/moto-api/reset-auth", b"0", plain)
        urllib.request.urlopen(reset).close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "aws").touch()  # DVC takes no device for a file
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with Storm(f"{host}:{port}") as storm:
        threading.Thread(target=storm.serve_forever, args=(0.02,)).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{storm.server_port}")
        found = Place(f"http://{host}:{port}", storm)
        try:
            reset = urllib.request.Request(f"{found.address}/moto-api/reset", method="POST")
            urllib.request.urlopen(reset).close()  # its objects outlive a server
            boto3.client("s3").create_bucket(Bucket="outplant")
            yield found
        finally:
            storm.shutdown()
            settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")  # in this very process
            server.stop()


def without_conditions(policy: Document) -> Document:
    found = copy.deepcopy(policy)
    for statement in found["Statement"]:
        statement.pop("Condition", None)
    return found


def test_there_is_a_policy_for_each_that_has_keys() -> None:
    assert POLICIES.keys() == {"worker", "controller", "mlflow", "serving"}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_gives_single_rights_in_folders_of_one_bucket_and_none_to_delete(
    name: str,
) -> None:
    for statement in POLICIES[name]["Statement"]:
        assert statement["Effect"] == "Allow"
        assert all(re.fullmatch(r"s3:[A-Za-z]+", action) for action in statement["Action"])
        assert not [action for action in statement["Action"] if "Delete" in action]
        listed = statement["Action"] == ["s3:ListBucket"]
        whole = "arn:aws:s3:::outplant"
        wanted = whole if listed else whole + r"/[a-z]+/\*"
        assert all(re.fullmatch(wanted, resource) for resource in statement["Resource"])
        assert listed == ("Condition" in statement)


@pytest.mark.parametrize("name", POLICIES)
def test_s3_takes_a_policy(place: Place, name: str) -> None:
    assert place.user(POLICIES[name])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_policy_is_found(place: Place, mistake: str) -> None:
    spoilt = copy.deepcopy(POLICIES["worker"])
    MISTAKES[mistake](spoilt)
    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        place.user(spoilt)


def test_a_worker_pushes_and_pulls_and_another_clone_computes_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = place.user(without_conditions(POLICIES["worker"]))
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    here, there = projects.toy(tmp_path / "here"), tmp_path / "there"
    (here / "dvc.yaml").write_text(GRAPH)
    monkeypatch.chdir(here)
    place.look()
    place.seen.clear()
    dvc("remote", "add", "--default", "store", "s3://outplant/dvc")
    dvc("repro")
    dvc("push", "--run-cache")
    shutil.copytree(here, there, ignore=shutil.ignore_patterns("cache", "tmp", "water.txt"))
    monkeypatch.chdir(there)
    (there / "dvc.lock").unlink()
    dvc("pull", "--run-cache", "--allow-missing")
    assert "is cached" in dvc("repro", "--pull").stdout
    assert (there / "water.txt").read_text() == "rain"
    listed = [parse_qs(urlsplit(line).query) for line in place.seen if "list-type" in line]
    assert listed
    for query in listed:
        assert may_list(POLICIES["worker"], query["prefix"][0]), query
    assert not [line for line in place.seen if line.startswith(("DELETE", "POST /?"))]
    secret = keys["AWS_SECRET_ACCESS_KEY"].encode()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert kept == []


def may_list(policy: Document, prefix: str) -> bool:
    """As IAM's StringLike has it."""
    patterns = policy["Statement"][0]["Condition"]["StringLike"]["s3:prefix"]
    return any(fnmatch.fnmatchcase(prefix, pattern) for pattern in patterns)


@pytest.mark.parametrize(
    ("name", "put", "get"),
    [
        ("worker", {"dvc"}, {"dvc", "sources"}),
        ("controller", {"dvc", "mlflow"}, {"dvc", "mlflow", "sources"}),
        ("mlflow", {"mlflow"}, {"mlflow"}),
        ("serving", set(), {"mlflow"}),
    ],
)
def test_what_is_not_given_is_refused(
    place: Place, name: str, put: set[str], get: set[str]
) -> None:
    folders = ("dvc", "mlflow", "sources", "elsewhere")
    own = boto3.client("s3")
    for folder in folders:
        own.put_object(Bucket="outplant", Key=f"{folder}/x", Body=b"x")
    keys = place.user(without_conditions(POLICIES[name]))
    session = boto3.Session(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    s3 = session.client("s3")
    place.look()
    at = [{"Bucket": "outplant", "Key": f"{folder}/x"} for folder in folders]
    assert {each["Key"][:-2] for each in at if not refused(s3.put_object, each)} == put
    assert {each["Key"][:-2] for each in at if not refused(s3.get_object, each)} == get
    assert all(refused(s3.delete_object, each) for each in at)
    assert refused(s3.create_bucket, {"Bucket": "another"})
    assert refused(session.client("iam").list_users, {})
    assert not may_list(POLICIES[name], "")
    assert not may_list(POLICIES[name], "elsewhere/")


def refused(call: Callable[..., object], given: dict[str, str]) -> bool:
    try:
        call(**given)
    except ClientError as error:
        return error.response["Error"]["Code"] in {"AccessDenied", "403"}
    return False
