"""The only caller of DVC: reads its graph, asks what is stale, and runs one stage at a time."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.core.entry import OFFLINE, StepError, unsigned

KEPT_LINES = 40
CHATTER = (
    "Updating lock file",
    "Generating lock file",
    "To track the changes",
    "\tgit add",
    "To enable auto staging",
    "\tdvc config core.autostage",
    "Use `dvc push`",
    "Data and pipelines",
)
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml; `after`: the stages whose outs it reads, `pool`: where to run it."""

    name: str
    after: tuple[str, ...]
    pool: str
    always: bool


@dataclass(frozen=True)
class Graph:
    """The stages, each after those that it depends on, and why some are stale."""

    stages: tuple[Stage, ...]
    stale: dict[str, str]

    def affected(self) -> list[Stage]:
        """Return what may have to run: the stale stages, and all that come after them."""
        found: list[Stage] = []
        names: set[str] = set()
        for stage in self.stages:
            if stage.name in self.stale or names.intersection(stage.after):
                found.append(stage)
                names.add(stage.name)
        return found

    def unchanged(self) -> bool:
        """Say whether only stages that always run are left to run."""
        return all(stage.always for stage in self.affected())


def read() -> Graph:
    """Read the graph of the folder we are in; StepError where DVC can't read it, or is at work."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    try:
        with Repo() as repo:
            status = repo.status()
            edges = repo.index.graph
            found = {
                stage.addressing: Stage(
                    name=stage.addressing,
                    after=tuple(sorted(other.addressing for other in edges.successors(stage))),
                    pool=str((stage.meta or {}).get("pool", "cpu")),
                    always=bool(stage.always_changed),
                )
                for stage in repo.index.stages
            }
    except DvcException as error:
        raise StepError(f"DVC can't read this project: {error}; see `dvc status`") from None
    return Graph(tuple(in_order(found.values())), {name: _why(status[name]) for name in status})


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Sort the stages so that each comes after its upstream, else as they were given."""
    waiting = {stage.name: stage for stage in stages}
    ordered: list[Stage] = []

    def place(name: str) -> None:
        if stage := waiting.pop(name, None):
            for upstream in stage.after:
                place(upstream)
            ordered.append(stage)

    for name in list(waiting):
        place(name)
    return ordered


def run(name: str, say: Callable[[str], None] = print) -> str:
    """Run one stage if it is stale; return `ran`, `restored` (from DVC's cache) or `unchanged`.

    Its lines go to `say` as they come. StepError, in one line, where the stage fails.
    """
    became = "unchanged"

    def hear(line: str) -> None:
        nonlocal became
        became = _outcome(name, line) or became
        say(line)

    try:
        call(["repro", "--single-item", name], hear)
    except StepError as error:
        raise StepError(f"stage {name} failed: {error}") from None
    return became


def call(arguments: list[str], say: Callable[[str], None], folder: Path = Path()) -> None:
    """Run a command of DVC in a folder; its lines go to `say`, but for chatter.

    StepError with the line that tells most where it fails.
    """
    last = deque[str](maxlen=KEPT_LINES)
    with _start([sys.executable, "-m", "dvc", *arguments], folder) as process:
        assert process.stdout
        try:
            for line in (unsigned(raw.rstrip()) for raw in process.stdout):
                if line and not line.startswith(CHATTER):
                    last.append(line)
                    say(line)
            code = process.wait()
        except BaseException:
            stop(process)
            raise
    if code:
        raise StepError(failure(last))


def _start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a group of its own, so that what the stage starts ends with it
    )


def stop(process: subprocess.Popen[Any]) -> None:
    """End the process and all that it started: asked first, made to after ten seconds."""
    for order in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, order)
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def environment() -> dict[str, str]:
    """Give the environment of a stage: `python` in dvc.yaml is the Python that runs this."""
    here = str(Path(sys.executable).parent)
    quiet = OFFLINE | {"DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    return quiet | os.environ | {"PATH": path}


def failure(lines: Iterable[str]) -> str:
    """Choose the line that tells most: ours (`error: `), else the stage's last, else DVC's."""
    said = [line.strip() for line in lines]
    ours = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    own = [line for line in said if not line.startswith(("ERROR: ", "Running stage ", "> "))]
    dvc = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    return (ours or own or dvc or ["it said nothing"])[-1]


def _outcome(name: str, line: str) -> str | None:
    """Read from a line of DVC's what became of the stage, if it says so."""
    if line.startswith(f"Stage '{name}' is cached"):
        return "restored"
    return "ran" if line.startswith(f"Running stage '{name}'") else None


def _why(reasons: list[object]) -> str:
    """Put DVC's reasons for a stage being stale into one line."""
    parts = []
    for reason in reasons:
        if isinstance(reason, dict):
            for kind, names in reason.items():
                parts.append(f"{kind}: {', '.join(names)}")
        else:
            parts.append(str(reason))
    return "; ".join(parts)
