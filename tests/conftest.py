"""What all tests share: no telemetry, no one's own Prefect or git settings, one Prefect server."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pipelines.cli import SETTINGS
from tests import postgres, projects

settings.register_profile("steady", deadline=None, derandomize=True)  # machines are slow, shared
settings.load_profile("steady")
os.environ.update(SETTINGS)
os.environ["OMP_NUM_THREADS"] = "1"  # of tiny models two threads make six times the work
os.environ.update({"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull})
for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """MLflow hands its address on in the environment; no test gets another's."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A real temporary Prefect server, one for all tests that ask for it."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion, one for all tests that only ask it."""
    from tests import champions

    folder = tmp_path_factory.mktemp("champion")
    champions.make(folder)
    return folder


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two registered versions, one for all tests that copy it; see tiny_project."""
    from tests import tiny_project

    folder = tmp_path_factory.mktemp("two-versions")
    tiny_project.register_two(folder)
    return folder


@pytest.fixture(scope="session")
def database() -> Iterator[postgres.Server]:
    """A real PostgreSQL, one for all tests that ask for it."""
    if why := postgres.absent():
        pytest.skip(why)
    with postgres.cluster() as running:
        yield running


@pytest.fixture
def clone(tmp_path: Path) -> Callable[..., Path]:
    """Copy this repository (tracked and new files) into a git and DVC project of its own."""

    def make(overrides: dict[str, Any] | None = None) -> Path:
        return projects.clone(tmp_path / "clone", overrides or {})

    return make


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project of five tiny stages; the test stands in its folder."""
    monkeypatch.chdir(projects.toy(tmp_path / "toy"))
    return tmp_path / "toy"
