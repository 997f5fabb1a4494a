"""Where a source, a remote or a record fails, its secrets are not in what is said or written."""

import configparser
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipelines import admission, record, stages
from steps.core.entry import StepError
from steps.core.params import Source
from steps.fetch import fetch
from tests import planting, postgres, projects, servers
from tests.tiny_project import dvc


class Shut(BaseHTTPRequestHandler):
    """Lets nobody in."""

    def do_GET(self) -> None:
        self.send_error(401)

    do_HEAD = do_PUT = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shut() -> Iterator[str]:
    """Host and port of a server that refuses all."""
    with HTTPServer(("127.0.0.1", 0), Shut) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy, with all secrets in the environment, and no one's downloads."""
    folder = projects.toy(tmp_path / "toy")
    monkeypatch.chdir(folder)
    for name, value in planting.SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OUTPLANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def clean(project: Path, failed: object) -> bool:
    return not planting.said(str(failed)) and not planting.found([project], kept=("config.local",))


def test_an_index_that_refuses_is_named_without_its_password(
    project: Path, shut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:{planting.ADDRESS}@{shut}/simple")
    (project / "pins.txt").write_text(f"law==1.0 --hash=sha256:{'ab12' * 16}\n")
    pinned = Source(kind="pypi", path="pins.txt", include=["*"], strip=0)
    with pytest.raises(StepError, match=r"found no file of law==1\.0") as failed:
        fetch(pinned, project / "out")
    assert clean(project, failed.value)


def test_a_hub_that_refuses_is_named_without_the_token(
    project: Path, shut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://{shut}")
    (project / "base.txt").write_text(f"org/name@{'0123456789' * 4}\n")
    with pytest.raises(StepError) as failed:
        fetch(Source(kind="hub", path="base.txt", include=["*"], strip=0), project / "out")
    assert clean(project, failed.value)


def test_a_remote_that_refuses_is_named_without_its_password(project: Path, shut: str) -> None:
    address = f"http://me:{planting.DVC_PASSWORD}@{shut}/x"
    dvc("remote", "add", "--local", "--default", "web", address)
    dvc("repro", "water")
    lines: list[str] = []
    with pytest.raises(StepError) as failed:
        stages.call(["push"], lines.append)
    assert clean(project, [failed.value, *lines])


def test_a_record_that_does_not_answer_is_named_without_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    gone = f"postgresql://me:planted6record@127.0.0.1:{servers.free_port()}/nowhere"
    monkeypatch.setenv("OUTPLANT_RECORD", gone)
    with pytest.raises(StepError, match="does not answer") as failed:
        record.read("changes")
    assert clean(project, failed.value)


@pytest.mark.parametrize(("login", "found"), [("", "none"), ("admin:planted4", "another")])
def test_a_prefect_that_asks_for_a_login_is_one_line(
    shut: str, login: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:{planting.ADDRESS}@{shut}/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", login)
    with pytest.raises(StepError, match=f"asks for a login .401; it was given {found}.") as failed:
        admission.ask()
    assert not planting.said(str(failed.value))


def test_a_prefect_that_is_not_there_is_one_line_and_none_at_all_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{servers.free_port()}/api")
    with pytest.raises(StepError, match=r"Prefect at http://127\.0\.0\.1 does not answer"):
        admission.ask()
    monkeypatch.delenv("PREFECT_API_URL")
    admission.ask()


def test_the_users_of_mlflow_are_in_a_postgres_whose_password_is_not_in_the_file(
    database: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import NullPool, create_engine

    found = configparser.ConfigParser()
    found.read("infra/kubernetes/basic_auth.ini")
    database.ask("CREATE DATABASE mlflow_auth")
    given = {"HOST": "127.0.0.1", "PORT": str(database.port), "USER": postgres.USER}
    for name, value in (given | {"PASSWORD": postgres.PASSWORD}).items():
        monkeypatch.setenv(f"PG{name}", value)
    engine = create_engine(found["mlflow"]["database_uri"], poolclass=NullPool)
    with engine.connect() as session:
        said = session.exec_driver_sql("SELECT current_database()").scalar()
    assert said == "mlflow_auth"
