"""The record of promotions: a hash-chained, append-only file a task, written before anything moves.

A registry can be emptied or edited; the record says who made what champion, when and why, and the
champion's alias follows its last line. Each line holds the sha256 of the line before.
"""

import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipelines import connection
from steps.core.entry import StepError

FOLDER = Path("promotions")
WAIT_SECONDS = 120.0
Entry = dict[str, Any]


@contextmanager
def serialised(task: str) -> Iterator[None]:
    """Hold the task's lock: MLflow's aliases and versions have no compare-and-swap."""
    path = _path(task).with_name(f".{task}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=WAIT_SECONDS):
            yield
    except Timeout:
        raise StepError(
            f"{path} was held by another command for {WAIT_SECONDS:.0f} s; try again when it ends"
        ) from None


def read(task: str) -> list[Entry]:
    """Return the task's entries, oldest first; a torn last line was never acted on and is none."""
    return [json.loads(line) for line in _lines(_path(task))]


def append(task: str, entry: Entry) -> Entry:
    """Add who, when and the chain to an entry, and write it to the disk before returning."""
    path = _path(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = _lines(path)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    made = entry | {"task": task, "who": _who(), "when": when, "previous": _chain(lines)}
    line = json.dumps(made, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    with path.open("ab") as stream:
        stream.truncate(sum(map(len, lines)))  # a torn line goes
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
    return made


def verify(task: str) -> None:
    """Check the chain; StepError names the line after which it does not hold."""
    path = _path(task)
    lines = _lines(path)
    for number, line in enumerate(lines, 1):
        expected = _chain(lines[: number - 1])
        try:
            found = json.loads(line)["previous"]
        except (json.JSONDecodeError, KeyError, TypeError):
            raise StepError(f"{path}, line {number} is no entry; it was changed by hand") from None
        if found != expected:
            raise StepError(
                f"{path}, line {number} expects another line before it ({found[:12]}..., found "
                f"{expected[:12]}...): line {max(1, number - 1)} was changed, added or taken out"
            )


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


def _path(task: str) -> Path:
    own = FOLDER / connection.called(connection.address())  # begun by `promote --registry`
    return (own if connection.elsewhere() or own.is_dir() else FOLDER) / f"{task}.jsonl"


def _lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return lines[:-1] if lines and not lines[-1].endswith(b"\n") else lines


def _chain(lines: list[bytes]) -> str:
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
