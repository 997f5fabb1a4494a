"""Stages as a user runs them: processes of their own, that may be killed.

They are forked off a server that has the libraries imported, each start of which takes seconds.
"""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

from steps.core import entry

PRELOAD = [
    "steps.pack",
    "steps.adapt",
    "steps.finetune",
    "steps.transfer.strategies.full",
    "steps.transfer.networks.tuning",
    "sklearn.linear_model",
    "transformers.models.bert.modeling_bert",
]


class Stage:
    """A stage that runs in a process of its own, with what it says in a file."""

    def __init__(
        self, folder: Path, *arguments: str, before: Callable[[], None] | None = None
    ) -> None:
        self.log = folder / "said.log"
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(PRELOAD)
        self.process = server.Process(target=enter, args=(folder, arguments, before))
        self.process.start()

    def end(self) -> tuple[int | None, str]:
        """Wait for the end; return exit status and words."""
        self.process.join(timeout=180)
        return self.process.exitcode, self.log.read_text()

    def hit(self, number: int, ready: Callable[[], bool]) -> bool:
        """Send a signal as soon as it is time; say whether the process was still there."""
        while self.process.is_alive():
            if ready():
                os.kill(self.process.pid or 0, number)
                return True
            self.process.join(0.005)  # a busy loop here would take the process's own time
        return False


def enter(folder: Path, arguments: tuple[str, ...], before: Callable[[], None] | None) -> None:
    """Be the command `python -m steps.STAGE ...` in a folder."""
    os.chdir(folder)
    log = os.open("said.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    if before:
        before()
    sys.argv = list(arguments)
    entry.run(importlib.import_module(f"steps.{arguments[0]}").main)


def run(folder: Path, *arguments: str) -> str:
    """Run a stage to its good end; return what it said."""
    status, said = Stage(folder, *arguments).end()
    assert status == 0, said
    return said
