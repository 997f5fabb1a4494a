"""What infra/ promises, as far as it can be seen without a Docker daemon."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import manifests, projects

INFRA = Path("infra")
COMPOSE = manifests.compose()
SERVICES = COMPOSE["services"]
DOCKERFILE = (INFRA / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in INSTRUCTIONS if line.startswith(f"{name} ")]


STAY = [name for name, service in SERVICES.items() if service["restart"] == "unless-stopped"]
WORKERS = ("controller", "cpu", "gpu")
MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an unknown key": (lambda s: s["mlflow"].update(imagee="x"), "imagee"),
    "a wrong type": (lambda s: s["mlflow"].update(ports="5000"), "ports"),
    "a command that is a mapping": (lambda s: s["s3"].update(command={"run": "x"}), "command"),
    "a condition that is none": (
        lambda s: s["mlflow"]["depends_on"]["bucket"].update(condition="done"),
        "done",
    ),
    "a dependency without what is required": (
        lambda s: s["mlflow"]["depends_on"]["bucket"].pop("condition"),
        "condition",
    ),
    "an open port": (lambda s: s["prefect"].update(ports=["4200:4200"]), "open to other machines"),
    "a secret as it is": (
        lambda s: s["prefect"]["environment"].update(PREFECT_SERVER_API_AUTH_STRING="a:b"),
        "PREFECT_SERVER_API_AUTH_STRING is a secret",
    ),
    "a password in an address": (
        lambda s: s["cpu"]["environment"].update(WHERE="postgresql://outplant:pw@postgres/x"),
        "WHERE is a secret",
    ),
    "root": (lambda s: s["controller"].update(user="0:0"), "runs as root"),
    "a root that is written to": (lambda s: s["gpu"].update(read_only=False), "not read-only"),
    "all of the kernel's powers": (lambda s: s["cpu"].update(privileged=True), "privileged"),
}


def test_compose_keeps_the_compose_specification_and_our_rules():
    assert manifests.compose_faults(COMPOSE) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_compose_is_found(mistake):
    spoil, said = MISTAKES[mistake]
    spoilt = copy.deepcopy(COMPOSE)
    spoil(spoilt["services"])
    assert said in "; ".join(manifests.compose_faults(spoilt))


@pytest.mark.parametrize("name", STAY)
def test_a_service_says_whether_it_is_well(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= check.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.match(r"v?\d+\.\d+", tag)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_until_what_it_needs_is_well(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert not SERVICES[other].get("profiles")
        ends = "service_healthy" if other in STAY else "service_completed_successfully"
        assert how == {"condition": ends}


@pytest.mark.parametrize("name", SERVICES)
def test_named_volumes_configs_and_hosts_are_declared(name):
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert source.startswith(".") or source in COMPOSE["volumes"]
    for config in service.get("configs", []):
        assert config["source"] in COMPOSE["configs"]
    urls = re.findall(r"(?:@|//)([a-z]+):\d+", str(service.get("environment", {})))
    assert set(urls) <= {*SERVICES, "outplant"}


def test_what_must_be_set_is_said_once_and_by_name():
    text = (INFRA / "compose.yaml").read_text()
    wanted = re.findall(r"\$\{(\w+):\?", text)
    assert sorted(wanted) == sorted(set(wanted))
    handed = set(re.findall(r"\$\{(\w+)\}", text))
    assert handed <= set(wanted)  # else it is empty where it was forgotten


def test_both_servers_keep_their_records_in_postgres_and_ask_who_comes():
    mlflow, prefect = (SERVICES[name]["environment"] for name in ("mlflow", "prefect"))
    assert mlflow["MLFLOW_BACKEND_STORE_URI"].endswith("@postgres:5432/mlflow")
    assert prefect["PREFECT_API_DATABASE_CONNECTION_URL"].endswith("@postgres:5432/prefect")
    made = COMPOSE["configs"]["databases"]["content"]
    assert set(re.findall(r"CREATE DATABASE (\w+)", made)) == {"mlflow_auth", "prefect"}
    assert "--app-name basic-auth" in " ".join(SERVICES["mlflow"]["command"])
    assert prefect["PREFECT_SERVER_API_AUTH_STRING"] == "${PREFECT_API_AUTH_STRING}"


def test_the_controller_records_promotions_where_the_server_has_its_own():
    record = SERVICES["controller"]["environment"]["OUTPLANT_RECORD"]
    store = SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert record == store.replace("+psycopg2", "")
    assert "OUTPLANT_RECORD" not in SERVICES["cpu"]["environment"]


def test_each_pool_has_a_worker_with_a_clone_of_its_own():
    clones = []
    for name in WORKERS:
        assert SERVICES[name]["command"][-1] == name
        clones += [line for line in SERVICES[name]["volumes"] if line.endswith(":/work")]
    assert sorted(clones) == ["controller:/work", "cpu:/work", "gpu:/work"]


def test_a_workers_start_clones_names_the_remote_and_begins_to_work(tmp_path):
    script = COMPOSE["x-start"][2].replace("$$", "$")
    for name in ("prefect", "outplant"):  # stand-ins that say what they are asked for
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    source = projects.toy(tmp_path / "source")
    (tmp_path / "work").mkdir()
    said = [
        subprocess.run(
            ["bash", "-ec", script, "outplant", pool],
            cwd=tmp_path / "work",
            env=os.environ | {"PATH": path, "OUTPLANT_REPOSITORY": str(source)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for pool in ("controller", "gpu")
    ]
    start = (
        "prefect worker start --pool {0} --type process --limit {1} --name {0} --with-healthcheck"
    )
    assert said[0][-2:] == ["outplant deploy", start.format("controller", 8)]
    assert said[1] == [start.format("gpu", 1)]
    assert "s3://outplant/dvc" in (tmp_path / "work/.dvc/config.local").read_text()


@pytest.mark.slow
def test_the_job_makes_the_bucket_once(tmp_path, monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        script = SERVICES["bucket"]["command"][2]
        for _ in range(2):
            subprocess.run([sys.executable, "-c", script, "outplant"], check=True)
        import boto3

        assert [one["Name"] for one in boto3.client("s3").list_buckets()["Buckets"]] == ["outplant"]
    finally:
        server.stop()


def test_the_image_is_pinned_and_its_user_is_not_root():
    assert re.match(r"python:\d+\.\d+\.\d+-", instructions("FROM")[0])
    assert instructions("USER")[-1] == "1000:1000"  # by number: Kubernetes asks for it
    assert [line.split()[0] for line in INSTRUCTIONS if line.startswith(("USER", "CMD"))] == [
        "USER",
        "CMD",
    ]


def test_what_the_image_writes_to_is_a_volume():
    assert yaml.safe_load(instructions("VOLUME")[0]) == [
        "/work",
        "/cache",
        "/home/outplant",
        "/tmp",
    ]
    assert "HOME=/home/outplant" in instructions("ENV")[0]


def test_nothing_that_is_built_in_is_a_secret():
    assert instructions("ARG") == ['TORCH_INDEX=""']
    assert not re.search(r"(?i)(password|secret|token|key)\w*=", instructions("ENV")[0])
    assert "--mount=type=secret,id=pip" in DOCKERFILE


def test_every_install_in_the_image_is_held_by_the_constraints():
    installs = [line for line in instructions("RUN") if "pip install" in line]
    assert installs
    assert all("-c /tmp/infra/constraints.txt" in line for line in installs)


def test_what_the_image_copies_is_there_and_let_through():
    let_through = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    assert let_through[0] == "*"
    for line in instructions("COPY"):
        for source in line.split()[:-1]:
            assert Path(source).is_file()
            assert f"!{source}" in let_through


def test_constraints_are_exact_pins_of_public_versions_and_nothing_else():
    lines = (INFRA / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not re.match(r"\s*#", line)]
    assert len(pins) > 100
    for line in pins:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][a-z0-9.!]*( ;.+)?", line), line
    assert "://" not in "".join(lines)


def test_every_dependency_is_pinned():
    import tomllib

    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    pins = {
        line.partition("==")[0] for line in (INFRA / "constraints.txt").read_text().splitlines()
    }
    names = {re.split(r"[\[<>=~! ;]", line)[0].lower() for line in wanted}
    assert names - pins == {"outplant"}  # whose extras the extra `test` has


def test_the_versions_of_prefects_server_agree():
    from prefect.server.api import server  # pip check sees no conflict where this fails

    assert callable(server.create_app)
