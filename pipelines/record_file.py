"""A record of promotions in a file of this clone, and a lock that the system frees with its holder.

For a registry that is a file beside it, or that one machine alone writes to.
"""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines import connection
from steps.core.entry import StepError

FOLDER = Path("promotions")


class File:
    """promotions/TASK.jsonl; `me` is what others are told who wait for the lock."""

    def __init__(self, task: str, me: str) -> None:
        own = FOLDER / connection.called(connection.address())  # begun by `promote --registry`
        folder = own if connection.elsewhere() or own.is_dir() else FOLDER
        self._path, self._me = folder / f"{task}.jsonl", me
        self._beside = folder / f".{task}.holder"
        self._lock = FileLock(folder / f".{task}.lock")
        self.where = str(self._path)

    def hold(self, seconds: float) -> bool:
        """Take the lock within that time; say whether it was got."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=seconds)
        except Timeout:
            return False
        self._beside.write_text(self._me)
        return True

    def release(self) -> None:
        """Give the lock back, where it was got."""
        self._lock.release()

    def holder(self) -> str:
        """Say who took the lock last."""
        return self._beside.read_text() if self._beside.exists() else "another command"

    def lines(self) -> list[bytes]:
        """Return all whole lines, oldest first; a torn last one is none."""
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().splitlines(keepends=True)
        return lines[:-1] if lines and not lines[-1].endswith(b"\n") else lines

    def add(self, number: int, line: bytes) -> None:
        """Write the line to the disk before returning; StepError where it is not the next."""
        lines = self.lines()
        if len(lines) != number - 1:
            raise StepError(
                f"{self.where} has {len(lines)} lines, expected {number - 1}: it was changed in "
                "this very moment; try again"
            )
        with self._path.open("ab") as stream:
            stream.truncate(sum(map(len, lines)))  # a torn line goes
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
