"""The record in a file and in PostgreSQL alike: one chain, one lock, nothing changed unnoticed."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

from pipelines import connection, record
from pipelines.record_database import TABLE, Table
from steps.core.entry import StepError
from tests import postgres

TASK = "entities"
LOG = Path("promotions") / f"{TASK}.jsonl"


@pytest.fixture(params=["file", "postgresql"])
def store(request, tmp_path, monkeypatch) -> str:
    """Stand where there is no record yet; say of what kind it will be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(connection.RECORD, raising=False)
    if request.param == "postgresql":
        server = request.getfixturevalue("database")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.copy("template1"))
    return request.param


@pytest.fixture
def shared(database, tmp_path, monkeypatch) -> postgres.Server:
    """A server of MLflow that does not matter here, and the record's own database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv(connection.RECORD, database.copy("template1").replace("+psycopg2", ""))
    return database


def version(number: int) -> dict[str, object]:
    return {"version": number, "lineage": f"{number:064x}", "commit": ""}


def move(old: int | None, new: int, **more: object) -> None:
    """Put a move on record."""
    ends = {"from": old and version(old), "to": version(new)}
    with record.serialised(TASK):
        record.append(TASK, {"action": "promote", "verdict": "promote"} | ends | more)


def three_moves() -> None:
    move(None, 1, reason="größer\nund \u2028 besser")
    move(1, 2)
    move(2, 3)


def tamper(change: str, number: int) -> None:
    """Change or take out a line, as only the owner of file or database can."""
    if LOG.exists():
        lines = LOG.read_bytes().splitlines(keepends=True)
        line = lines[number - 1].replace(b'"commit": ""', b'"commit": "a"')
        lines[number - 1 : number] = [line] if change == "changed" else []
        LOG.write_bytes(b"".join(lines))
        return
    where = f"WHERE task = '{TASK}' AND number = {number}"
    update = f"UPDATE {TABLE} SET line = replace(line, 'commit\": \"', 'commit\": \"a')"
    ask(f"ALTER TABLE {TABLE} DISABLE TRIGGER kept")
    ask(f"{update if change == 'changed' else f'DELETE FROM {TABLE}'} {where}")


def ask(query: str) -> list[tuple[object, ...]]:
    """Run a statement where the record is."""
    uri = os.environ.get(connection.RECORD) or os.environ["MLFLOW_TRACKING_URI"]
    port, _, name = uri.rpartition(":")[2].partition("/")
    return postgres.Server(int(port)).ask(query, name)


def test_lines_form_a_chain_and_are_the_same_bytes_wherever_they_lie(store):
    three_moves()
    record.verify(TASK)
    entries = record.read(TASK)
    assert [entry["to"]["version"] for entry in entries] == [1, 2, 3]
    assert entries[0]["reason"] == "größer\nund \u2028 besser"
    lines = [json.dumps(e, sort_keys=True, ensure_ascii=False).encode() + b"\n" for e in entries]
    found = LOG.read_bytes() if store == "file" else "".join(
        str(row[0]) for row in ask(f"SELECT line FROM {TABLE} ORDER BY number")
    ).encode()  # fmt: skip
    assert found == b"".join(lines)
    assert {"who", "when", "previous", "task"} <= entries[0].keys()


@pytest.mark.parametrize("change", ["changed", "taken out"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_line_that_was_changed_or_taken_out_is_named(store, change, number):
    three_moves()
    tamper(change, number)
    said = f"line {number} was changed, or one after it added or taken out"
    if change == "taken out":
        said = "line 1 was changed" if number == 2 else "line 1 .* what was before it was taken out"
    with pytest.raises(StepError, match=said):
        record.verify(TASK)


@pytest.mark.parametrize("change", ["changed", "taken out"])
def test_an_end_that_was_changed_or_cut_is_found_by_the_mark_that_was_kept(store, change):
    three_moves()
    kept = record.mark(TASK)
    assert record.lacks(TASK, kept) == ""
    tamper(change, 3)
    record.verify(TASK)  # for nothing comes after it
    assert re_said(record.lacks(TASK, kept), change)
    move(3 if change == "changed" else 2, 1)
    assert record.lacks(TASK, kept)  # whatever came later


def re_said(said: str, change: str) -> bool:
    if change == "changed":
        return said.startswith("line 3 of ") and "is not the one that was acted on" in said
    return " has 2 lines, and line 3 was acted on" in said


def test_a_reason_that_is_no_unicode_is_kept_as_far_as_it_is(store):
    move(None, 1, reason="caf\udce9")  # as a terminal in another encoding gives it
    assert record.read(TASK)[0]["reason"] == "caf?"


def test_what_goes_on_from_a_mark_lacks_nothing(store):
    assert record.mark(TASK) == ""
    assert record.lacks(TASK, "") == ""
    move(None, 1)
    kept = record.mark(TASK)
    move(1, 2)
    assert record.lacks(TASK, kept) == ""
    assert "acted on" in record.lacks(TASK, "rubbish")


def test_a_move_that_does_not_begin_where_the_record_ends_is_refused(store):
    three_moves()
    with pytest.raises(StepError, match=r"ends with version 3 as champion .* try again"):
        move(2, 1)
    assert len(record.read(TASK)) == 3


def test_nothing_is_appended_outside_of_the_lock(store):
    with pytest.raises(RuntimeError, match=r"outside of record\.serialised"):
        record.append(TASK, {"from": None, "to": version(1)})
    with record.serialised("changes"), pytest.raises(RuntimeError, match="outside"):
        record.append(TASK, {"from": None, "to": version(1)})


def test_a_line_that_another_has_added_meanwhile_cannot_be_doubled(store):
    move(None, 1)
    here = record._store(TASK)
    assert here.hold(1)
    for number in (1, 3):
        with pytest.raises(StepError, match="line"):
            here.add(number, b"{}\n")
    here.release()
    assert len(record.read(TASK)) == 1


def test_a_line_that_is_no_entry_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    move(None, 1)
    for rubbish in ("[1]", "{", '"previous"', "\udcff"):
        with LOG.open("a", errors="surrogateescape") as file:
            file.write(f"{rubbish}\n")
        for look in (record.read, record.verify):
            with pytest.raises(StepError, match=r"changed by hand") as error:
                look(TASK)
            assert "line 2 is no entry" in str(error.value)


def hold(folder: str, uri: str | None, said: "multiprocessing.connection.Connection") -> None:
    """Take the lock, say so, and keep it until the end."""
    os.chdir(folder)
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    with record.serialised(TASK):
        said.send(os.getpid())
        signal.pause()


@contextlib.contextmanager
def another():
    """Another process that has the lock; killed where it still lives at the end."""
    server = multiprocessing.get_context("forkserver")
    told, said = server.Pipe(duplex=False)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    process = server.Process(target=hold, args=(os.getcwd(), uri, said))
    process.start()
    try:
        assert told.recv() == process.pid
        yield process
    finally:
        process.kill()
        process.join()


def test_who_waits_is_told_for_whom_and_gives_up_in_one_line(store, monkeypatch, capsys):
    monkeypatch.setattr(record, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr(record, "WAIT_SECONDS", 0.05)
    with another() as process:
        with pytest.raises(StepError, match=rf"held by another command \(pid {process.pid} of "):
            move(None, 1)
        assert f"{TASK} is held by pid {process.pid} of " in capsys.readouterr().err
        with record.if_free(TASK) as holder:
            assert holder.startswith(f"pid {process.pid} of ")
        assert record.read(TASK) == []  # who only reads waits for nobody


def test_the_lock_of_a_process_that_was_killed_is_free(store):
    with another() as process:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        move(None, 1)
    assert len(record.read(TASK)) == 1
    with record.if_free(TASK) as holder:
        assert holder == ""


def test_locks_of_two_tasks_do_not_meet(store):
    with record.serialised(TASK), record.if_free("changes") as holder:
        assert holder == ""


def test_a_server_has_its_record_where_the_variable_says(shared, monkeypatch):
    three_moves()
    record.verify(TASK)
    assert ask(f"SELECT count(*) FROM {TABLE}") == [(3,)]
    assert not LOG.exists()
    monkeypatch.delenv(connection.RECORD)
    assert record.read(TASK) == []  # a file of this clone's


@pytest.mark.parametrize("uri", ["sqlite:///a.db", "postgres://me:s3cr3t@host/x", "s3cr3t"])
def test_a_variable_that_names_no_postgresql_is_told_without_its_secret(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv(connection.RECORD, uri)
    with pytest.raises(StepError, match="OUTPLANT_RECORD names no PostgreSQL; expected") as error:
        record.read(TASK)
    assert "s3cr3t" not in str(error.value)


def test_an_address_that_cannot_be_read_is_told_without_its_secret(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:s3cr3t@host:port/mlflow")
    with pytest.raises(StepError, match="cannot be read") as error:
        record.read(TASK)
    assert "s3cr3t" not in str(error.value)


def test_a_database_that_does_not_answer_is_down_and_its_password_is_not_said(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:s3cr3t@127.0.0.1:9/mlflow")
    with pytest.raises(connection.Down, match=r"postgresql://127\.0\.0\.1/mlflow does") as error:
        record.read(TASK)
    assert "s3cr3t" not in str(error.value)
    assert "\n" not in str(error.value)
    assert "s3cr3t" not in str(connection.down("postgresql://me:s3cr3t@/x?host=/run", OSError()))


def test_a_driver_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://127.0.0.1/mlflow")
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(StepError, match=r"needs psycopg2; run `pip install .*\[server\]'`"):
        record.read(TASK)


def test_rows_cannot_be_changed_or_taken_out(shared):
    import psycopg2

    move(None, 1)
    for query in (f"UPDATE {TABLE} SET line = ''", f"DELETE FROM {TABLE}", f"TRUNCATE {TABLE}"):
        with pytest.raises(psycopg2.Error, match="is append-only"):
            ask(query)
    record.verify(TASK)


def test_who_has_lost_the_lock_writes_nothing(shared):
    move(None, 1)
    with record.serialised(TASK):
        ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'outplant%' AND datname = current_database()"
        )
        with pytest.raises(connection.Down, match="does not answer"):
            record.append(TASK, {"action": "promote", "from": version(1), "to": version(2)})
    assert len(record.read(TASK)) == 1


def test_rights_that_are_missing_are_told_in_one_line(shared, monkeypatch):
    name = os.environ[connection.RECORD].rpartition("/")[2]
    ask("CREATE ROLE reader LOGIN PASSWORD 'other'")
    uri = f"postgresql://reader:other@127.0.0.1:{shared.port}/{name}"
    monkeypatch.setenv(connection.RECORD, uri)
    with pytest.raises(StepError, match="is refused: permission denied for schema") as error:
        move(None, 1)
    assert "\n" not in str(error.value)
    assert isinstance(record._store(TASK), Table)
