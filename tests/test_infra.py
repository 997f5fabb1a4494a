"""What infra/ promises, as far as it can be seen without a Docker daemon."""

import re
from pathlib import Path

import pytest
import yaml

INFRA = Path("infra")
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (INFRA / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in INSTRUCTIONS if line.startswith(f"{name} ")]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_whether_it_is_well(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= check.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_alone(name):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.match(r"\d+\.\d+", tag)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_until_what_it_needs_is_well(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how == {"condition": "service_healthy"}


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


def test_secrets_come_from_the_environment():
    values = {
        key: value
        for service in SERVICES.values()
        for key, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|KEY|URL|URI|RECORD", key)
    }
    assert values["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert values["AWS_SECRET_ACCESS_KEY"] is None  # handed on, where it is set
    for value in values.values():
        assert not re.search(r"://\w+:(?!\$\{)[^@/]+@", value or "")


def test_both_servers_keep_their_records_in_postgres():
    mlflow, prefect = (SERVICES[name]["environment"] for name in ("mlflow", "prefect"))
    assert mlflow["MLFLOW_BACKEND_STORE_URI"].endswith("@postgres:5432/mlflow")
    assert prefect["PREFECT_API_DATABASE_CONNECTION_URL"].endswith("@postgres:5432/prefect")
    assert "CREATE DATABASE prefect" in COMPOSE["configs"]["databases"]["content"]


def test_the_worker_records_promotions_where_the_server_has_its_own():
    record = SERVICES["worker"]["environment"]["OUTPLANT_RECORD"]
    store = SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert record == store.replace("+psycopg2", "")


def test_the_worker_serves_the_pool_of_the_deployments():
    pools = {
        deployment["work_pool"]["name"]
        for deployment in yaml.safe_load((INFRA / "prefect.yaml").read_text())["deployments"]
    }
    script = SERVICES["worker"]["command"][-1]
    assert pools == set(re.findall(r"worker start --pool (\S+)", script))


def test_the_image_is_pinned_and_its_user_is_not_root():
    assert re.match(r"python:\d+\.\d+\.\d+-", instructions("FROM")[0])
    assert instructions("USER")[-1] not in {"root", "0"}
    assert [line.split()[0] for line in INSTRUCTIONS if line.startswith(("USER", "CMD"))] == [
        "USER",
        "CMD",
    ]


def test_every_install_in_the_image_is_held_by_the_constraints():
    installs = [line for line in instructions("RUN") if "pip install" in line]
    assert installs
    assert all("-c /tmp/infra/constraints.txt" in line for line in installs)
    assert instructions("ARG") == ['TORCH_INDEX=""']


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
    wanted = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    pins = {
        line.partition("==")[0] for line in (INFRA / "constraints.txt").read_text().splitlines()
    }
    names = {re.split(r"[\[<>=~! ;]", line)[0].lower() for line in wanted}
    assert names - pins == set()


def test_the_versions_of_prefects_server_agree():
    from prefect.server.api import server  # pip check sees no conflict where this fails

    assert callable(server.create_app)
