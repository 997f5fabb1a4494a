"""Run a command that ends with whoever started it, even where that one was killed.

As a command it stands between the two:

    python -IS leash.py DESCRIPTOR SECONDS COMMAND...

DESCRIPTOR is a pipe's end for reading, the other end of which the starter alone holds: it closes
with the starter, whatever became of it. Then this process group is asked to end, and made to after
SECONDS; a stage that went on would hold a GPU that nobody knows of. What the command has started
ends with it likewise, even where the command itself was killed. Exit status: that of the command,
128 + N where signal N ended it.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

GRACE_SECONDS = 10.0
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Flow:
    """What threads of this process have started for one block, and whether that is over."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[str]] = set()
        self.over = False


FLOW: ContextVar[Flow] = ContextVar("flow")  # a task's thread has that of its flow


@contextmanager
def started(
    command: list[str], folder: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a process group of its own; give it, with its output, line by line.

    Whatever leaves the block before it ends, ends it.
    """
    flow = FLOW.get(Flow())
    reading, writing = os.pipe()
    try:
        with _popen(reading, command, folder, settings) as process:
            flow.running.add(process)
            try:
                if flow.over:  # since before it was known to it
                    stop(process)
                yield process
            except BaseException:
                stop(process)
                raise
            finally:
                flow.running.discard(process)
    finally:
        os.close(reading)
        os.close(writing)


def _popen(
    end: int, command: list[str], folder: Path, settings: Mapping[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-IS", __file__, str(end), str(GRACE_SECONDS), *command],
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
    """Let nothing that threads of this block start outlive it, if an error ends that."""
    from concurrent.futures import ThreadPoolExecutor

    flow = Flow()
    token = FLOW.set(flow)
    try:
        yield
    except BaseException:
        flow.over = True
        with ThreadPoolExecutor() as together:  # each may take its ten seconds
            list(together.map(stop, tuple(flow.running)))
        raise
    finally:
        FLOW.reset(token)


def stopped() -> bool:
    """Whether what we start is ended by us, which is no failure of its own."""
    return FLOW.get(Flow()).over


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
    """Start the command in this process group, and wait for it and for what it leaves behind."""
    line, seconds, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # meant for the command, which is waited for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt()
    process = subprocess.Popen(command, preexec_fn=_hear)  # noqa: PLW1509 - before any thread is
    threading.Thread(target=_follow, args=(int(line), float(seconds)), daemon=True).start()
    code = process.wait()
    _end(float(seconds))
    _wait_for_group()
    return code if code >= 0 else 128 - code


def _adopt() -> None:
    """Become the parent of what loses its own, so that it can be waited for; Linux alone has it."""
    import ctypes

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait_for_group() -> None:
    try:
        while True:
            os.waitpid(0, 0)
    except ChildProcessError:
        return


def _hear() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _follow(line: int, seconds: float) -> None:
    """End the group when the starter is gone."""
    os.read(line, 1)
    _end(seconds)


def _end(seconds: float) -> None:
    """Ask the group to end; whatever is left of it in so many seconds ends with us."""
    os.killpg(0, signal.SIGTERM)
    made = threading.Timer(seconds, os.killpg, (0, signal.SIGKILL))
    made.daemon = True
    made.start()


if __name__ == "__main__":
    sys.exit(main())
