"""The log of requests, where a service is told to keep one: Parquet, without personal data.

FOLDER/TASK/DATE/*.parquet: a row a text, with when it was asked, by which version it was answered,
the fields that the task reads, and the answer as JSON. `outplant champion-check --requests FOLDER`
holds it against what the champion learnt from.
"""

import json
import os
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

import pyarrow as pa

from steps.core.entry import StepError
from steps.core.files import read_rows, write_rows
from steps.tasks import task_type

MOST_WAITING, MOST_ROWS = 1000, 2000  # calls that wait to be written; rows of a file
EVERY_SECONDS = 30.0
Call = tuple[datetime, str, int | None, Sequence[dict[str, Any]], Sequence[dict[str, Any]], float]
Logged = dict[str, Any]


class RequestLog:
    """Takes calls at once and writes them behind; it holds no request up.

    `types`: the type of each task. `lost` counts the calls that came too fast to be kept.
    """

    def __init__(self, folder: Path, types: dict[str, str]) -> None:
        self.folder, self.types = folder, types
        self.lost = 0
        self.waiting: Queue[Call] = Queue(MOST_WAITING)
        self.over = Event()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StepError(f"no log can be kept in {folder}: {error}; name another") from None
        self.thread = Thread(target=self._write_on, name="log of requests", daemon=True)
        self.thread.start()

    def __call__(
        self,
        task: str,
        version: int | None,
        rows: Sequence[dict[str, Any]],
        answers: Sequence[dict[str, Any]],
        seconds: float,
    ) -> None:
        """Keep a call: its rows, their answers, and how long they took."""
        try:
            self.waiting.put_nowait((datetime.now(UTC), task, version, rows, answers, seconds))
        except Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits."""
        self.over.set()
        self.thread.join()

    def _write_on(self) -> None:
        while not self.over.wait(EVERY_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        """Write all that waits, a file a task and day; of a disk that is full the rest is lost."""
        found: dict[tuple[str, str], list[Logged]] = defaultdict(list)
        try:
            while True:
                call = self.waiting.get_nowait()
                found[call[1], call[0].date().isoformat()] += self._rows(call)
        except Empty:
            pass
        for (task, day), rows in found.items():
            for at in range(0, len(rows), MOST_ROWS):
                self._file(self.folder / task / day, task, rows[at : at + MOST_ROWS])

    def _file(self, folder: Path, task: str, rows: list[Logged]) -> None:
        name = f"{rows[0]['when']:%H%M%S}-{os.getpid()}-{uuid.uuid4().hex[:8]}.parquet"
        try:
            write_rows(folder / name, rows, schema(self.types[task]))
        except OSError:
            self.lost += len(rows)

    def _rows(self, call: Call) -> list[Logged]:
        when, task, version, rows, answers, seconds = call
        fields = task_type(self.types[task]).INPUTS
        return [
            {"when": when, "version": version, "seconds": seconds}
            | {name: masked(str(row[name])) for name in fields}
            | {"answer": json.dumps(masked(answer), ensure_ascii=False, sort_keys=True)}
            for row, answer in zip(rows, answers, strict=True)
        ]


def schema(kind: str) -> pa.Schema:
    """The columns of a task type's log."""
    texts = [(name, pa.string()) for name in task_type(kind).INPUTS]
    return pa.schema(
        [
            ("when", pa.timestamp("ms", tz="UTC")),
            ("version", pa.int64()),
            ("seconds", pa.float64()),
            *texts,
            ("answer", pa.string()),
        ]
    )


def masked(value: Any) -> Any:
    """Mask personal data in a text, or in all texts of an answer."""
    from steps.corpora.pii import mask

    if isinstance(value, str):
        return mask(value)[0]
    if isinstance(value, dict):
        return {name: masked(part) for name, part in value.items()}
    return [masked(part) for part in value] if isinstance(value, list) else value


def read(folder: Path, task: str, version: int, most: int) -> list[Logged]:
    """Return the newest rows that a version answered; StepError where there are none."""
    found: list[Logged] = []
    for file in sorted((folder / task).glob("*/*.parquet"), reverse=True):
        found += [row for row in reversed(read_rows(file)) if row["version"] == version]
        if len(found) >= most:
            break
    if not found:
        raise StepError(
            f"{folder} has no requests that version {version} of {task} answered; expected "
            f"{folder}/{task}/DATE/*.parquet, as `outplant serve --log {folder}` writes them"
        )
    return found[:most]
