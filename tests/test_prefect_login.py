"""A Prefect server with a login: one line without it, a whole run with it, and no secret kept."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import planting, projects, servers

pytestmark = pytest.mark.slow  # a server and four processes; test_secrets.py asks one that is none
LOGIN = planting.SECRETS["PREFECT_API_AUTH_STRING"]
# A toy has no tasks of which there could be a status, and no params to check
COMMAND = """
from pipelines import cli, status
cli._check = lambda: None
status.read = lambda: []
cli.app()
"""
STEP = f"""
import sys
from pathlib import Path
print("pulled from https://me:{planting.ADDRESS}@git.invalid/x")
if Path("rain.txt").read_text() == "hail":
    sys.exit("error: https://me:{planting.ADDRESS}@git.invalid/x is not to be reached; mend it")
Path("water.txt").write_text("water")
"""
GRAPH = "stages: {water: {cmd: python step.py, deps: [rain.txt], outs: [water.txt]}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the server writes."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with servers.prefect(folder, LOGIN) as address:
        yield address


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A graph of one stage, in a repository whose remote has a password."""
    made = projects.toy(tmp_path / "toy")
    (made / "dvc.yaml").write_text(GRAPH)
    (made / "step.py").write_text(STEP)
    subprocess.run(["git", "remote", "add", "origin", planting.GIT_REMOTE], cwd=made, check=True)
    return made


def train(toy: Path, server: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `outplant train` with all secrets in its environment."""
    given = os.environ | planting.SECRETS | settings
    given |= {"PREFECT_API_URL": server, "PREFECT_HOME": str(toy.parent / "home")}
    given |= {"PYTHONPATH": str(servers.ROOT)}
    given = {name: value for name, value in given.items() if value}
    command = [sys.executable, "-c", COMMAND, "train"]
    return subprocess.run(command, cwd=toy, env=given, capture_output=True, text=True, check=False)


def test_a_server_that_is_told_no_host_is_open_to_this_machine_alone(server: str) -> None:
    assert servers.listens_on(server) == {"127.0.0.1"}


@pytest.mark.parametrize(("login", "found"), [("", "none"), ("admin:wrong", "another")])
def test_without_the_login_train_is_one_line(
    toy: Path, server: str, login: str, found: str
) -> None:
    done = train(toy, server, PREFECT_API_AUTH_STRING=login)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: Prefect at http://127.0.0.1 asks for a login (401; it was given {found}); set "
        "PREFECT_API_AUTH_STRING to the server's PREFECT_SERVER_API_AUTH_STRING, USER:PASSWORD"
    )
    assert "Traceback" not in done.stderr
    assert not (toy / "water.txt").exists()


def test_with_the_login_a_run_is_as_ever_and_keeps_no_secret(
    toy: Path, server: str, folder: Path
) -> None:
    done = train(toy, server)
    assert done.returncode == 0, done.stderr
    assert "pulled from https://git.invalid/x" in done.stderr
    (toy / "rain.txt").write_text("hail")
    failed = train(toy, server)
    assert "stage water failed: https://git.invalid/x is not to be reached" in failed.stderr
    assert planting.said(done.stdout + done.stderr + failed.stdout + failed.stderr) == []
    (toy / "step.py").unlink()  # which has them
    assert (folder / "prefect.db").stat().st_size
    assert planting.found([toy.parent, folder], kept=(".git/config",)) == []


def test_a_server_that_is_not_there_is_one_line(toy: Path) -> None:
    away = f"http://me:{planting.ADDRESS}@127.0.0.1:{servers.free_port()}/api"
    done = train(toy, away)
    assert done.returncode == 1
    assert "error: Prefect at http://127.0.0.1 does not answer (" in done.stderr
    assert planting.said(done.stderr) == []
