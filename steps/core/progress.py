"""Progress of long work: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 10.0
T = TypeVar("T")


class Bar:
    """One piece of long work, `done` of it already; `advance` may carry a note such as the loss."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.what, self.total, self.done, self._before = what, total, done, done
        self._started = self._said = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> "Bar":
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._progress.start()
            self._task = self._progress.add_task(
                self.what, total=self.total, completed=self.done, note=""
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say that `steps` more are done."""
        self.done += steps
        if self._progress:
            self._progress.update(self._task, advance=steps, note=note)
            return
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            pace = (now - self._started) / (self.done - self._before)
            left = pace * (self.total - self.done)
            line = f"{self.what}: {self.done}/{self.total}, {left:.0f} s left {note}"
            print(line.rstrip(), file=sys.stderr, flush=True)


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield the items, showing how far the work is."""
    with Bar(what, total) as bar:
        for item in items:
            yield item
            bar.advance()
