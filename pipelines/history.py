"""The history of a running adaptation -> MLflow, read from its file while that is written.

Training knows of no tracker: it appends to `history.jsonl`, and a thread of the flow hands on what
is new. A tracker that is down or slow costs a warning, and neither the stage nor the flow waits.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Event, Thread

from pipelines import registry
from steps.core.entry import StepError
from steps.core.files import digest

ROOM = Path(".outplant/checkpoints")  # that of steps.transfer.resume, whose import loads torch
MODELS = Path("models")
EVERY_SECONDS, AGAIN_SECONDS = 5.0, 60.0  # between looks; after one that failed
LAST_SECONDS = 10.0  # how long the end of a stage waits for the last of it
Row = dict[str, float]


def tailed(
    stage: str, work: Callable[[], str], warn: Callable[[str], None], tell: Callable[[Row], None]
) -> str:
    """Do the work of a stage (`stages.run`) and return what it does.

    Of a stage adapt@NAME the losses go to MLflow meanwhile, and the newest row to `tell`; what goes
    wrong there is a warning.
    """
    kind, _, name = stage.partition("@")
    if kind != "adapt":
        return work()
    tail = Tail(name, warn, tell)
    became, status = "", "KILLED"
    tail.start()
    try:
        became = work()
        status = "FINISHED"
    except StepError:
        status = "FAILED"
        raise
    finally:
        tail.stop(status, ran=became == "ran")
    return became


class Tail:
    """Follows the newest history of an adaptation, from when its stage starts."""

    def __init__(self, name: str, warn: Callable[[str], None], tell: Callable[[Row], None]) -> None:
        self.name, self.warn, self.tell = name, warn, tell
        self.old = {path: _stamp(path) for path in _histories(name)}  # of runs before this one
        self.file: Growing | None = None
        self.rows: list[Row] = []  # read, and not yet taken by MLflow
        self.key = ""  # the name of the checkpoints' folder, the same where the run goes on
        self.status, self.ran, self.failing = "RUNNING", False, False
        self.over = Event()
        follow = partial(copy_context().run, self._follow)  # whoever is told may look at its run
        self.thread = Thread(target=follow, name=f"history of {name}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self, status: str, ran: bool) -> None:
        """Let the rest be handed on, and go on without it where that takes too long."""
        self.status, self.ran = status, ran
        self.over.set()
        self.thread.join(LAST_SECONDS)
        if self.thread.is_alive():
            self._say(f"MLflow has not taken all of it in {LAST_SECONDS:.0f} s")

    def _follow(self) -> None:
        wait = EVERY_SECONDS
        while not self.over.wait(wait):
            wait = EVERY_SECONDS if self._hand_on("RUNNING") else AGAIN_SECONDS
        self._hand_on(self.status)

    def _hand_on(self, status: str) -> bool:
        """Log what is new; False where that fails, which is said once."""
        try:
            self._read()
            if self.rows:
                self.tell(self.rows[-1])
            if self.key and (self.rows or status != "RUNNING"):
                registry.log_history(
                    self.key, self.name, [_logged(row) for row in self.rows], status
                )
        except (StepError, OSError) as error:
            self._say(str(error))
            return False
        self.rows, self.failing = [], False
        return True

    def _read(self) -> None:
        """Read on in the file that grows; at the end all of the one that the stage made."""
        if newest := max(self._live(), key=_stamp, default=None):
            if self.file is None or self.file.path != newest:
                self.file, self.key = Growing(newest), newest.parent.name
            self.rows += self.file.rows()
        made = MODELS / self.name / "history.jsonl"
        if self.ran and made.exists():
            self.key = self.key or f"adapt-{self.name}-{digest(made)[:16]}"  # it was that quick
            self.rows += Growing(made).rows()

    def _live(self) -> list[Path]:
        return [path for path in _histories(self.name) if self.old.get(path) != _stamp(path)]

    def _say(self, why: str) -> None:
        if not self.failing:
            kept = MODELS / self.name / "history.jsonl"
            self.warn(f"{why}; training goes on, and {kept} will have its losses")
        self.failing = True


class Growing:
    """A file of JSON lines that is appended to, or written anew by a run that goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read, self.last = 0, b""  # bytes, and the line that they end with

    def rows(self) -> list[Row]:
        """Read the lines that are new and whole; again from the first where it was written anew."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.read - len(self.last))
                if stream.read(len(self.last)) != self.last:
                    self.read, self.last = 0, b""
                    stream.seek(0)
                return list(self._rows(stream))
        except FileNotFoundError:  # the stage is done, and has cleared up
            return []

    def _rows(self, lines: Iterable[bytes]) -> Iterator[Row]:
        for line in lines:
            row = _row(line)
            if row is None:
                return
            self.read += len(line)
            self.last = line
            yield row


def _row(line: bytes) -> Row | None:
    """Read a line; None where it is not all there yet."""
    try:
        said = json.loads(line) if line.endswith(b"\n") else {}
        row = {name: float(said[name]) for name in ("step", "tokens", "loss", "learning_rate")}
        speed = row["tokens"] / max(float(said["seconds"]), 1e-9)  # both are since the first step
        row["steps"] = float(said.get("steps", row["step"]))  # of the whole; what is done lacks it
    except (ValueError, TypeError, KeyError):
        return None
    return row | {"tokens_per_second": speed}


def _logged(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "steps"}


def _histories(name: str) -> list[Path]:
    """List the files of one adaptation: adapt-NAME-KEY, and not adapt-NAME-MORE-KEY."""
    found = ROOM.glob("*/history.jsonl")
    return [path for path in found if path.parent.name.rpartition("-")[0] == f"adapt-{name}"]


def _stamp(path: Path) -> tuple[int, int]:
    """Tell when a file was last written, and its size; zeros where it has gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
