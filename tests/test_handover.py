"""A version goes from one registry into another, byte for byte, and that one's gate decides."""

import shutil
from pathlib import Path

import pytest

from pipelines import connection, handover, lineage, logged, promotion, record, registry
from steps.core.entry import StepError
from steps.core.params import load
from tests.tiny_project import TASK

BUNDLE, REPORT = Path("bundles") / TASK, Path("reports") / TASK


@pytest.fixture(autouse=True)
def project(two_versions, tmp_path, monkeypatch):
    shutil.copytree(two_versions, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()


@pytest.fixture
def other() -> str:
    """The address of an empty registry."""
    return f"sqlite:///{Path.cwd()}/blank.db"


def hand_over(other: str, version: int | None = None, **more: object) -> promotion.Outcome:
    options = {"force": False, "reason": ""} | more
    return handover.promote(TASK, version, (other, ""), **options)


def test_a_version_is_copied_checked_and_promoted_there_and_nothing_moves_here(other):
    outcome = hand_over(other)
    assert (outcome.moved, outcome.version) == (True, 1)
    assert "from version 2 here" in outcome.message
    assert registry.champion(TASK) is None
    assert record.read(TASK) == []
    sent = registry.version(TASK, 2)
    with connection.at(other, ""):
        found = registry.champion(TASK)
        assert found.reference() == sent.reference() | {"version": 1}
        bundle, evidence = registry.files(found)
        assert [entry["to"]["version"] for entry in record.read(TASK)] == [1]
    assert lineage.dvc_hash(bundle) == lineage.dvc_hash(registry.files(sent)[0])
    assert bundle != registry.files(sent)[0]
    assert (evidence / "stages.json").exists()


def test_handing_over_twice_adds_nothing_and_the_other_champion_is_what_must_be_beaten(other):
    hand_over(other)
    again = hand_over(other)
    assert (again.moved, again.version) == (False, 1)
    assert "is the champion already" in again.message
    worse = hand_over(other, 1)
    assert (worse.moved, worse.verdict.verdict) == (False, "refuse")
    with connection.at(other, ""):
        assert [found.recipe for found in registry.everything()] == ["good", "baseline"]


def test_a_file_that_arrives_as_another_is_not_registered(other, monkeypatch):
    log = logged._log_bundle

    def spoilt(api, run, bundle, proof):
        found = log(api, run, bundle, proof)
        stored = Path(api.artifacts.download_artifacts(found.model_uri))
        (stored / "artifacts" / TASK / "vocabulary.json").write_text("{}")
        return found

    monkeypatch.setattr(logged, "_log_bundle", spoilt)
    with pytest.raises(StepError, match=r"vocabulary\.json arrived as another file"):
        hand_over(other)
    with connection.at(other, ""):
        assert registry.everything() == []


def test_the_registry_that_is_used_here_is_no_other():
    with pytest.raises(StepError, match="--registry is 'prod'; expected an MLflow's address"):
        handover.promote(TASK, None, ("prod", ""), False, "")
    with pytest.raises(StepError, match="is the registry that is used here; name another"):
        hand_over(connection.address())


def test_what_is_meant_comes_back_after_an_error(other):
    before = connection.address()
    with (
        pytest.raises(StepError, match="no version of changes is registered"),
        connection.at(other, ""),
    ):
        registry.version(TASK, 7 if connection.address() == other else None)
    assert (connection.address(), connection.elsewhere()) == (before, False)


def test_the_other_record_is_read_where_that_registry_is_the_one_in_use(other, monkeypatch):
    hand_over(other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert [entry["to"]["version"] for entry in promotion.history(TASK)] == [1]
    assert registry.status(TASK)["champion"] == 1


def test_no_password_of_an_address_is_in_the_name_of_its_record():
    name = connection.called("http://me:secret@prod.example:5000")
    assert name.startswith("http-prod.example-")
    assert "secret" not in name
