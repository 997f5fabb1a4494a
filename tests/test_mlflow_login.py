"""A registry with a login: one line without it, all as ever with it, and no password anywhere."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import connection, registry
from pipelines.cli import app
from steps.core.entry import StepError
from tests import planting, projects, servers, tiny_project
from tests.tiny_project import STRONG, TASK, WEAK

COMMANDS = (f"lineage {TASK} --json", f"history {TASK} --json", "status --json", f"lineage {TASK}")
PASSWORD = planting.SECRETS["MLFLOW_TRACKING_PASSWORD"]


pytestmark = pytest.mark.slow  # a server with logins takes its time


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the server writes."""
    return tmp_path_factory.mktemp("server") / "mlflow"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with servers.mlflow(folder, PASSWORD) as address:
        yield address


@pytest.fixture
def log_in(server: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return monkeypatch


def test_a_server_that_is_told_no_host_is_open_to_this_machine_alone(server: str) -> None:
    assert servers.listens_on(server) == {"127.0.0.1"}


def test_without_a_login_or_with_a_wrong_one_the_registry_refuses_in_one_line(
    log_in: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StepError, match=r"asks for a login \(401; it was given no user\); set"):
        registry.champion(TASK)
    log_in.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    log_in.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-and-secret")
    with pytest.raises(StepError, match="given user 'admin'") as refused:
        registry.registered(TASK)
    assert not isinstance(refused.value, connection.Down)  # it does not heal by waiting
    assert "wrong" not in str(refused.value)


def test_a_command_says_so_and_shows_no_traceback(log_in: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["history", TASK, "--verify"])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: MLflow at http://127.0.0.1 asks for a login (401")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def project(tmp_path: Path, log_in: pytest.MonkeyPatch) -> Path:
    """A project with a bundle, in a git repository, with a secret wherever one can be."""
    folder = tmp_path / "project"
    folder.mkdir()
    log_in.chdir(folder)
    for name, value in planting.SECRETS.items():
        log_in.setenv(name, value)
    log_in.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    log_in.delenv("OUTPLANT_RECORD")  # names no database
    tiny_project.make({"baseline": WEAK, "good": STRONG})
    tiny_project.commit()
    projects.commit(folder)
    subprocess.run(["git", "remote", "add", "origin", planting.GIT_REMOTE], check=True)
    tiny_project.dvc("remote", "add", "--local", "web", "https://dvc.invalid/x")
    tiny_project.dvc("remote", "modify", "--local", "web", "user", "me")
    tiny_project.dvc("remote", "modify", "--local", "web", "password", planting.DVC_PASSWORD)
    return folder


def run(*arguments: str) -> str:
    """Run a command of `outplant` in this process; give all that it printed."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code in (0, 3, 4), done.output
    return done.output


def test_with_the_login_all_works_and_no_secret_is_found_again(
    project: Path, folder: Path, server: str, log_in: pytest.MonkeyPatch
) -> None:
    with log_in.context() as patch:
        patch.delenv("MLFLOW_TRACKING_PASSWORD")
        patch.setenv("MLFLOW_TRACKING_URI", signed(server, PASSWORD))
        said = tiny_project.dvc("repro").stdout  # registers
    assert "version 1 (good) registered" in said
    said += run("promote", TASK, "--force", "--reason", "a try")
    said += "".join(run(*line.split()) for line in COMMANDS)
    assert registry.champion_bundle(TASK).is_dir()
    assert planting.said(said) == []
    assert planting.found([project, folder], kept=(".git/config", ".dvc/config.local")) == []
    assert planting.found([project / ".git"]) != []  # it does look


def signed(address: str, password: str) -> str:
    return address.replace("://", f"://admin:{password}@")


def test_a_login_in_the_address_works_and_is_not_shown(
    server: str, log_in: pytest.MonkeyPatch
) -> None:
    log_in.setenv("MLFLOW_TRACKING_URI", signed(server, PASSWORD))
    assert registry.registered("none of that name") == ([], {})
    log_in.setenv("MLFLOW_TRACKING_URI", signed(server, planting.ADDRESS))
    with pytest.raises(StepError, match="given user 'admin'") as refused:
        registry.champion(TASK)
    assert planting.said(str(refused.value)) == []


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("no https://me:pw@git.example.org/x.git", "no https://git.example.org/x.git"),
        ("at https://token@host/a and s3://b@c/d", "at https://host/a and s3://c/d"),
        ("expected postgresql://USER:PASSWORD@HOST/DATABASE", None),
        ("models:/x@champion is none", None),
    ],
)
def test_an_error_has_no_password_of_an_address(line: str, shown: str | None) -> None:
    assert str(StepError(line)) == (line if shown is None else shown)
