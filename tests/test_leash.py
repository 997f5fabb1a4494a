"""A stage's processes end with the flow that started them, whatever became of that."""

import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import leash

ROOT = Path(__file__).parent.parent
# Writes its own number and that of a child of its own, then both sleep
FAMILY = """
import os, signal, subprocess, sys, time
{ignore}
child = subprocess.Popen([sys.executable, "-c", '''{child}'''], stdout=subprocess.PIPE)
child.stdout.readline()
with open("family.part", "w") as out:
    out.write(f"{{os.getpid()}} {{child.pid}}")
os.rename("family.part", "family")
{then}
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
SLEEP = "time.sleep(120)"
CHILD = f"import signal, time; {{ignore}}; print(1, flush=True); {SLEEP}"
STARTER = """
import os, sys
from pathlib import Path
from pipelines import leash
leash.GRACE_SECONDS = 0.5
with leash.started([sys.executable, "-c", sys.argv[1]], Path(), os.environ) as process:
    process.stdout.read()
"""


def family(deaf: bool = False, then: str = SLEEP) -> str:
    ignore = DEAF if deaf else ""
    return FAMILY.format(ignore=ignore, child=CHILD.format(ignore=ignore or "pass"), then=then)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leash, "GRACE_SECONDS", 0.5)
    return tmp_path


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90  # machines are slow, shared
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the latter as it ends in these very moments
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def members(folder: Path) -> list[int]:
    until((folder / "family").exists)
    return [int(number) for number in (folder / "family").read_text().split()]


def ran(script: str) -> tuple[int, str]:
    command = [sys.executable, "-c", script]
    with leash.started(command, Path(), os.environ) as process:
        assert process.stdout
        said = process.stdout.read()
    return process.returncode, said


@pytest.mark.parametrize("deaf", [False, True], ids=["hears", "ignores SIGTERM"])
def test_a_killed_starter_takes_its_command_and_that_ones_children_along(
    folder: Path, deaf: bool
) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, family(deaf)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with starter:
        both = members(folder)
        starter.kill()
    until(lambda: not any(map(alive, both)))


def test_a_child_that_outlives_the_asked_command_is_made_to_end(folder: Path) -> None:
    """DVC dies of SIGTERM at once, and its stage may not."""
    script = family(deaf=True).replace(DEAF, "pass", 1)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, script], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    with starter:
        both = members(folder)
        starter.kill()
    until(lambda: not any(map(alive, both)))


def test_what_a_killed_command_leaves_behind_ends_with_it(folder: Path) -> None:
    found: list[int] = []

    def kill() -> None:
        found.extend(members(folder))
        os.kill(found[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert ran(family()) == (128 + signal.SIGKILL, "")
    killer.join()
    assert not alive(found[1])


@pytest.mark.parametrize("code", [0, 3, 75])
def test_the_exit_status_and_every_line_pass_through(code: int) -> None:
    script = f"import sys; [print(n) for n in range(3000)]; sys.exit({code})"
    assert ran(script) == (code, "".join(f"{n}\n" for n in range(3000)))


def test_a_command_that_a_signal_ended_says_which() -> None:
    assert ran("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)") == (139, "")


def test_a_command_hears_its_signals_as_if_nobody_stood_between() -> None:
    script = "import signal; print(*(signal.getsignal(n).__class__.__name__ for n in (2, 15)))"
    assert ran(script) == (0, "builtin_function_or_method Handlers\n")


@pytest.mark.parametrize("deaf", [False, True], ids=["hears", "ignores SIGTERM"])
def test_a_block_that_is_left_ends_what_it_started(folder: Path, deaf: bool) -> None:
    command = [sys.executable, "-c", family(deaf)]
    both: list[int] = []

    def leave() -> None:
        with leash.started(command, Path(), os.environ):
            both.extend(members(folder))
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    until(lambda: not any(map(alive, both)))


def test_an_error_ends_what_threads_have_started_and_what_they_start_later(folder: Path) -> None:
    over = threading.Event()
    codes: list[int] = []
    threads: list[threading.Thread] = []

    def work() -> None:
        codes.append(ran(family())[0])
        over.wait(20)
        codes.append(ran(family())[0])
        assert leash.stopped()

    def begin() -> None:
        with leash.ending_with_us():
            thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
            threads.append(thread)
            thread.start()
            members(folder)
            raise KeyError

    with pytest.raises(KeyError):
        begin()
    over.set()
    threads[0].join(20)
    assert len(codes) == 2
    assert all(codes)
    assert not leash.stopped()
    assert ran("pass") == (0, "")
