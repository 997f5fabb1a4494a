"""What the registry promises, on SQLite and on PostgreSQL alike: to one, and to sixteen at once.

Sixteen processes move one champion, some of them are killed, and nothing is lost or doubled.
"""

import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import connection, lineage, promotion, record, registry, versions
from pipelines.cli import app
from pipelines.record_database import TABLE
from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.core.params import load
from tests import tiny_project
from tests.stressed import VERSIONS, die, preloaded, stress
from tests.tiny_project import STRONG, TASK

BUNDLE, REPORT = Path("bundles") / TASK, Path("reports") / TASK
CHECKED = Path("data/validation/tasks") / TASK / "verdict.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """One winner, which is registered again each time that its data are validated again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        tiny_project.make({"baseline": STRONG}, test=slice(30, 50))
        return Path.cwd()


@pytest.fixture(scope="module")
def sqlite(project, tmp_path_factory) -> str:
    """The URI of a registry with three versions, to be copied."""
    folder = tmp_path_factory.mktemp("blank")
    return fill(project, f"sqlite:///{tiny_project.blank_registry(folder)}")


@pytest.fixture(scope="module")
def postgresql(project, database) -> str:
    """The same in PostgreSQL."""
    return fill(project, database.blank_registry())


def fill(project: Path, uri: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        for number in VERSIONS:
            write_json(CHECKED, read_json(CHECKED) | {"run": f"{number} {uri}"})
            tiny_project.commit()
            assert registry.register(TASK, BUNDLE, REPORT)["number"] == number
    return uri


@pytest.fixture(params=["sqlite", "postgresql"])
def copy(request, project, tmp_path, monkeypatch) -> Path:
    """A copy of project and registry, in which the test stands."""
    full = request.getfixturevalue(request.param)
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    if request.param == "sqlite":
        shutil.copy(full.removeprefix("sqlite:///"), "mlflow.db")
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    else:
        server = request.getfixturevalue("database")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.copy(full))
    load.cache_clear()
    return tmp_path / "copy"


def promote(version: int | None, force: bool = True) -> promotion.Outcome:
    return promotion.promote(TASK, version, force, "asked for")


def test_a_champion_moves_is_rolled_back_and_found_by_all(copy, capsys):
    assert not registry.register(TASK, BUNDLE, REPORT)["added"]
    assert promote(1, force=False).moved
    assert promote(2, force=False).verdict.verdict == "inconclusive"
    assert promote(2).moved
    assert not promote(2).moved
    assert promotion.rollback(TASK, "slow", None).version == 1
    with pytest.raises(StepError, match="had no champion before version 1"):
        promotion.rollback(TASK, "slow", None)
    said = registry.status(TASK)
    assert (said["champion"], said["challenger"], said["note"]) == (1, 3, "")
    assert lineage.dvc_hash(registry.champion_bundle(TASK)) == lineage.dvc_hash(BUNDLE)
    done = CliRunner().invoke(app, ["history", TASK, "--verify"])
    assert (done.exit_code, done.stdout) == (0, "3 moves, chain intact\n")
    rows = [
        row.split("\t") for row in CliRunner().invoke(app, ["history", TASK]).stdout.split("\n")
    ]
    assert [row[1:5] for row in rows[1:-1]] == [
        ["promote", "-", "1", "promote"],
        ["promote, forced", "1", "2", "inconclusive"],
        ["rollback", "2", "1", "-"],
    ]


def test_an_alias_that_was_moved_by_hand_follows_the_record_again(copy):
    promote(1)
    client().set_registered_model_alias(TASK, "champion", "3")
    said = registry.status(TASK)
    assert (said["champion"], said["note"]) == (
        1,
        f"{TASK}: the champion is version 1 again, as the record says (was 3)",
    )


def test_status_waits_for_nobody_and_says_who_is_at_it(copy):
    promote(1)
    with record.serialised(TASK):
        said = registry.status(TASK)
    assert (said["champion"], said["challenger"]) == (1, 3)
    assert f"{TASK} is being changed by pid {os.getpid()} of " in said["note"]


@pytest.mark.parametrize("copy", ["postgresql"], indirect=True)
def test_a_lock_that_is_lost_before_the_alias_moves_moves_nothing(copy, database, monkeypatch):
    crown = registry.crown
    promote(1)

    def late(version: versions.Version) -> None:
        database.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'outplant pid%'"
        )
        crown(version)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "crown", late)
        with pytest.raises(connection.Down, match="does not answer"):
            promote(2)
    assert client().get_model_version_by_alias(TASK, "champion").version == 1
    assert registry.status(TASK)["champion"] == 2  # for it is on record


def test_a_kill_between_record_and_alias_is_repaired_by_the_next_command(copy):
    promote(1)
    process = preloaded().Process(target=die, args=(copy, connection.address(), 2))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert client().get_model_version_by_alias(TASK, "champion").version == 1
    assert promotion.history(TASK)[-1]["to"]["version"] == 2
    assert promotion.rollback(TASK, "it died", None).version == 1
    moves = [(entry["from"] or {}).get("version") for entry in promotion.history(TASK)]
    assert moves == [None, 1, 2]
    assert promotion.verify(TASK) == 3


def test_a_record_whose_end_was_cut_moves_nothing_until_a_reason_is_given(copy, request):
    for version in VERSIONS:
        promote(version)
    cut(request)
    assert "has 2 lines, and line 3 was acted on" in registry.status(TASK)["note"]
    assert registry.status(TASK)["champion"] == 3
    with pytest.raises(StepError, match=r"line 3 was acted on .* bring the whole record back"):
        promotion.verify(TASK)
    with pytest.raises(StepError, match="line 3 was acted on"):
        promotion.rollback(TASK, "slow", None)
    refused = promote(1, force=False)
    assert (refused.moved, refused.verdict.verdict) == (False, "refuse")
    assert refused.verdict.clauses[-1].name == "record"
    done = CliRunner().invoke(app, ["history", TASK, "--verify"])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert promote(2).moved  # though the record says that it is champion
    assert promotion.verify(TASK) == 3
    assert registry.status(TASK)["champion"] == 2
    assert promotion.history(TASK)[-1]["clauses"][-1]["passed"] is False


def cut(request: pytest.FixtureRequest) -> None:
    """Take the last line out, as only the owner of file or database can."""
    if connection.address().startswith("sqlite"):
        path = Path("promotions") / f"{TASK}.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        return
    name, server = connection.address().rpartition("/")[2], request.getfixturevalue("database")
    server.ask(f"ALTER TABLE {TABLE} DISABLE TRIGGER kept", name)
    server.ask(f"DELETE FROM {TABLE} WHERE number = 3", name)


def client():
    import mlflow

    return mlflow.MlflowClient(connection.address())


def check(moves: int, kills: int) -> None:
    """One champion, the record's; each move that was made is on record once; no version is gone."""
    said = registry.status(TASK)  # the next command, which repairs what a kill left
    done = Path("done").read_text().split()
    entries = promotion.history(TASK)
    reasons = Counter(entry["reason"] for entry in entries)
    assert set(reasons.values()) == {1}
    assert {f"move {number}" for number in done} <= reasons.keys()
    assert reasons.keys() <= {f"move {number}" for number in range(1, moves + 1)}
    assert moves - kills <= len(done) <= len(entries) <= moves
    assert promotion.verify(TASK) == len(entries)
    ends = [entry["to"]["lineage"] for entry in entries]
    assert [entry["from"]["lineage"] for entry in entries[1:]] == ends[:-1]
    found = {int(one.version): one for one in client().search_model_versions(f"name = '{TASK}'")}
    crowned = [n for n in found if "champion" in client().get_model_version(TASK, str(n)).aliases]
    assert crowned == [said["champion"]] == [entries[-1]["to"]["version"]]
    assert sorted(found) == list(VERSIONS)
    assert {one.tags[versions.KEY] for one in found.values()} >= set(ends)
    with record.if_free(TASK) as holder:
        assert holder == ""


@pytest.mark.parametrize(
    ("copy", "moves"),
    [
        ("sqlite", 32),
        ("postgresql", 32),
        pytest.param("sqlite", 200, marks=pytest.mark.slow),
        pytest.param("postgresql", 200, marks=pytest.mark.slow),
    ],
    indirect=["copy"],
)
def test_what_many_move_at_once_ends_with_one_champion_and_every_move_on_record(copy, moves):
    assert stress(copy, connection.address(), 16, moves, 0) == [0] * 16
    check(moves, 0)
    assert len(promotion.history(TASK)) == moves


@pytest.mark.parametrize(
    ("copy", "moves"),
    [
        ("postgresql", 50),
        pytest.param("sqlite", 50, marks=pytest.mark.slow),
        pytest.param("sqlite", 200, marks=pytest.mark.slow),
        pytest.param("postgresql", 200, marks=pytest.mark.slow),
    ],
    indirect=["copy"],
)
def test_who_is_killed_leaves_nothing_that_the_others_cannot_go_on_from(copy, moves):
    ends = stress(copy, connection.address(), 16, moves, 10)
    assert Counter(ends) == {0: 6, -9: 10}, Path("said.log").read_text()[-2000:]
    check(moves, 10)
