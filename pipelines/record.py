"""The record of promotions: hash-chained and append-only, written before anything moves.

A registry can be emptied or edited; the record says who made what champion, when and why, and the
champion's alias follows its last line. Each line holds the sha256 of the line before. It lies in
`promotions/` of this clone (`record_file`), or where many machines share a registry in PostgreSQL
(`record_database`): byte for byte the same lines, so that one code reads and verifies both.

A line that was changed, added or taken out breaks the chain. What the chain cannot tell, a changed
or cut end, `mark` can: the registry keeps the last one. Whoever rewrites the record *and* that mark
is not found out; for that keep the lines of `outplant history TASK --json` elsewhere.
"""

import getpass
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from pipelines import connection, record_database, record_file
from steps.core.entry import StepError

WAIT_SECONDS = 1800.0  # a holder may fetch gigabytes and let a bundle predict anew
SILENT_SECONDS = 5.0
Entry = dict[str, Any]


class Store(Protocol):
    """Where the lines of one task are kept, and its lock."""

    where: str

    def hold(self, seconds: float) -> bool:
        """Take the lock within that time; say whether it was got."""

    def release(self) -> None:
        """Give the lock back."""

    def holder(self) -> str:
        """Say who holds the lock, as far as that is known."""

    def lines(self) -> list[bytes]:
        """Return all whole lines, oldest first, each with its line break."""

    def add(self, number: int, line: bytes) -> None:
        """Keep a line for good, as the one of that number; StepError where it is not the next."""


_HELD: ContextVar[dict[str, Store]] = ContextVar("held")


@contextmanager
def serialised(task: str) -> Iterator[None]:
    """Hold the task's lock: MLflow's aliases and versions have no compare-and-swap.

    Who waits for longer than a few seconds is told for whom; StepError where it takes too long.
    """
    store = _store(task)
    with _released(store):
        _wait(store, task)
        with _held(store):
            yield


@contextmanager
def if_free(task: str) -> Iterator[str]:
    """Hold the task's lock, where nobody does; else give who does, and wait for nothing."""
    store = _store(task)
    with _released(store):
        if store.hold(0):
            with _held(store):
                yield ""
        else:
            yield store.holder()


def read(task: str) -> list[Entry]:
    """Return the task's entries, oldest first; a torn last line was never acted on and is none."""
    store = _at_hand(task)
    return [_entry(store.where, number, line) for number, line in enumerate(store.lines(), 1)]


def append(task: str, entry: Entry) -> Entry:
    """Add who, when and the chain to an entry, and keep it for good before returning.

    Only under the task's lock. StepError where `from` is not what the last line made champion.
    """
    store = _at_hand(task)
    if store not in _HELD.get({}).values():
        raise RuntimeError(f"an append to {store.where} outside of record.serialised")
    lines = store.lines()
    if lines:
        _follows(store.where, _entry(store.where, len(lines), lines[-1])["to"], entry["from"])
    when = datetime.now(UTC).isoformat(timespec="seconds")
    made = entry | {"task": task, "who": _who(), "when": when, "previous": _chain(lines)}
    line = json.dumps(made, sort_keys=True, ensure_ascii=False).encode(errors="replace") + b"\n"
    store.add(len(lines) + 1, line)
    return made


def verify(task: str) -> None:
    """Check the chain; StepError names the line after which it does not hold."""
    store = _at_hand(task)
    lines = store.lines()
    for number, line in enumerate(lines, 1):
        expected = _chain(lines[: number - 1])
        found = str(_entry(store.where, number, line)["previous"])
        if found != expected:
            was = f"line {number - 1} was changed, or one after it added or taken out"
            raise StepError(
                f"{store.where}, line {number} expects another line before it "
                f"({found[:12] or 'none'}, found {expected[:12] or 'none'}): "
                + (was if number > 1 else "what was before it was taken out")
            )


def mark(task: str) -> str:
    """Return what tells the record's end: how many lines, and the last one's sha256."""
    lines = _at_hand(task).lines()
    return f"{len(lines)} {_chain(lines)}" if lines else ""


def lacks(task: str, seen: str) -> str:
    """Say what the record lacks of what it had when `mark` gave this; nothing where it goes on."""
    store = _at_hand(task)
    lines, (count, _, chain) = store.lines(), seen.partition(" ")
    number = int(count) if count.isdigit() else 0
    if not seen or seen == f"{number} {_chain(lines[:number])}":
        return ""
    if len(lines) >= number:
        return f"line {number} of {store.where} is not the one that was acted on ({chain[:12]})"
    return f"{store.where} has {len(lines)} lines, and line {number} was acted on ({chain[:12]})"


def champions(entries: list[Entry]) -> list[Entry]:
    """Replay the record: the stack of champions, oldest first, a rollback taken off its top."""
    stack: list[Entry] = [entry["from"] for entry in entries[:1] if entry["from"]]
    for entry in entries:
        to = entry["to"]
        keys = [version["lineage"] for version in stack]
        if entry["action"] == "rollback" and to["lineage"] in keys:
            del stack[len(keys) - keys[::-1].index(to["lineage"]) :]
            stack[-1] = to
        else:
            stack.append(to)
    return stack


def _store(task: str) -> Store:
    """Say where a task's record is, by where the registry is."""
    me = f"pid {os.getpid()} of {_who()} on {socket.gethostname()}"
    uri = connection.address()
    if connection.is_server(uri):
        uri = os.environ.get(connection.RECORD, "")
        if uri and not record_database.serves(uri):
            raise StepError(
                f"{connection.RECORD} names no PostgreSQL; "
                "expected postgresql://USER:PASSWORD@HOST/DATABASE, as the server's own"
            )
    if record_database.serves(uri):
        return record_database.Table(task, uri, me)
    return record_file.File(task, me)


def _at_hand(task: str) -> Store:
    """Return the store that has the lock, where this very code took it, else one to read from."""
    store = _store(task)
    return _HELD.get({}).get(store.where, store)


def _wait(store: Store, task: str) -> None:
    """Take the lock; say for whom it waits."""
    if store.hold(min(SILENT_SECONDS, WAIT_SECONDS)):
        return
    print(f"{task} is held by {store.holder()}; waiting until it ends", file=sys.stderr)
    if not store.hold(max(0, WAIT_SECONDS - SILENT_SECONDS)):
        raise StepError(
            f"{task} was held by another command ({store.holder()}) for {WAIT_SECONDS:.0f} s; "
            "try again when it ends"
        )


@contextmanager
def _released(store: Store) -> Iterator[None]:
    try:
        yield
    finally:
        store.release()


@contextmanager
def _held(store: Store) -> Iterator[None]:
    """Let what reads and appends find the store that has the lock."""
    token = _HELD.set(_HELD.get({}) | {store.where: store})
    try:
        yield
    finally:
        _HELD.reset(token)


def _follows(where: str, last: Entry, old: Entry | None) -> None:
    """Refuse a move away from another champion than the last line's."""
    found = old["lineage"] if old else ""
    if found != last["lineage"]:
        raise StepError(
            f"{where} ends with version {last['version']} as champion (lineage "
            f"{last['lineage'][:12]}), and this move begins with {found[:12] or 'none'}; try again"
        )


def _entry(where: str, number: int, line: bytes) -> Entry:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"action", "from", "to", "previous"} <= found.keys():
        raise StepError(f"{where}, line {number} is no entry; it was changed by hand")
    return found


def _chain(lines: list[bytes]) -> str:
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
