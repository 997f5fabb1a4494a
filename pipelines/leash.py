"""Run a command that ends with whoever started it, even where that one was killed.

As a command it stands between the two:

    python -IS leash.py DESCRIPTOR COMMAND...

DESCRIPTOR is a pipe's end for reading, the other end of which the starter alone holds: it closes
with the starter, whatever became of it. Then this process group is asked to end, and made to after
ten seconds; a stage that went on would hold a GPU that nobody knows of. Exit status: that of the
command, 128 + N where signal N ended it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GRACE_SECONDS = 10.0
RUNNING: set[subprocess.Popen[str]] = set()
STOPPED: set[subprocess.Popen[str]] = set()  # by us, which is no failure of theirs


@contextmanager
def started(
    command: list[str], folder: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a process group of its own; give it, with its output, line by line.

    Whatever leaves the block before it ends, ends it.
    """
    reading, writing = os.pipe()
    try:
        with _popen(reading, command, folder, settings) as process:
            RUNNING.add(process)
            try:
                yield process
            except BaseException:
                stop(process)
                raise
            finally:
                RUNNING.discard(process)
    finally:
        os.close(reading)
        os.close(writing)


def _popen(
    end: int, command: list[str], folder: Path, settings: Mapping[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-IS", __file__, str(end), *command],
        pass_fds=[end],
        cwd=folder,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a group of its own, so that what the command starts ends with it
    )


@contextmanager
def ending_with_us() -> Iterator[None]:
    """Let nothing that threads of this process started outlive the block, if an error ends that."""
    try:
        yield
    except BaseException:
        for process in tuple(RUNNING):
            STOPPED.add(process)
            stop(process)
        raise


def stop(process: subprocess.Popen[Any]) -> None:
    """End the process and all that it started: asked first, made to after ten seconds."""
    for order in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, order)
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def main() -> int:
    """Start the command in this process group, and wait for it."""
    line, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # meant for the command, which is waited for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, preexec_fn=_hear)  # noqa: PLW1509 - before any thread is
    threading.Thread(target=_follow, args=(int(line),), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _hear() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _follow(line: int) -> None:
    """End the group when the starter is gone."""
    os.read(line, 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
