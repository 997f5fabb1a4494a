"""The only caller of DVC: reads its graph, asks what is stale, and runs one stage at a time."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import leash
from steps.core.entry import AGAIN, OFFLINE, StepError, TryAgain, unsigned

KEPT_LINES = 40
LOCKFILE = Path("dvc.lock")
# DVC's words for a stage that failed; and for a remote that is away, or asks for patience
FAILED = re.compile(r"ERROR: .* exited with (-?[0-9]+)$")
SILENT = re.compile(
    r"ERROR: .*(failed to connect|not connect to|time[d-]? ?out|connection .*(closed|reset|refused)"
    r"|slow ?down|reduce your request rate|internal ?error|service ?unavailable)",
    re.IGNORECASE,
)
Commands = Sequence[list[str]]  # of DVC
NEXT = "\x1ecommand "  # before the lines of each, its number
LOOP = f"""
import json, sys
from dvc.cli import main
for number, command in enumerate(json.loads(sys.argv[1])):
    print({NEXT!r} + str(number), flush=True)
    if status := main(command):
        sys.exit(status)
"""
CHATTER = (
    "Updating lock file",
    "Generating lock file",
    "To track the changes",
    "\tgit add",
    "To enable auto staging",
    "\tdvc config core.autostage",
    "Use `dvc push`",
    "Data and pipelines",
    "Having any troubles?",
)


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


@dataclass(frozen=True)
class Ran:
    """What became of a stage: `ran`, `restored` (from a cache) or `unchanged`; and how long."""

    stage: str
    became: str
    seconds: float


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


def entries(names: Iterable[str]) -> dict[str, Any]:
    """Return what dvc.lock says of stages, those that it does not know left out."""
    import yaml
    from dvc.repo import Repo

    with Repo(_wait_for_lock=True) as repo, repo.lock:  # no stage is being written into it
        text = LOCKFILE.read_text() if LOCKFILE.exists() else "{}"
    known = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)).get("stages", {})
    return {name: known[name] for name in names if name in known}


def outside() -> set[str]:
    """Return the stages that read files of this machine: neither git nor a stage has them."""
    from dvc.repo import Repo

    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True)
    with Repo() as repo:
        made = {str(out.fs_path) for out in repo.index.outs}
        known = made | {os.path.abspath(name) for name in listed.stdout.split("\0") if name}
        folders = {str(folder) for name in known for folder in Path(name).parents}
        return {
            stage.addressing
            for stage in repo.index.stages
            for dep in stage.deps
            if dep.protocol == "local"
            and dep.fs_path not in known
            and dep.fs_path not in folders
            and made.isdisjoint(map(str, Path(dep.fs_path).parents))
        }


def remote(folder: Path = Path()) -> tuple[str, str]:
    """Return the name and address of a clone's DVC remote; StepError where there is none."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        name = repo.config["core"].get("remote")
        known = repo.config["remote"].get(name)
    if not known:
        raise StepError(
            f"{folder.absolute()} has no default DVC remote, and a fleet's workers meet in one; "
            "`dvc remote add --default NAME s3://BUCKET/PREFIX`, and commit .dvc/config"
        )
    return str(name), str(known["url"])


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


def run(
    name: str,
    say: Callable[[str], None] = print,
    flags: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    around: tuple[Commands, Commands] = ((), ()),
) -> str:
    """Run one stage if it is stale; return `ran`, `restored` (from DVC's cache) or `unchanged`.

    Its lines go to `say` as they come. StepError, in one line, where the stage fails; TryAgain
    where that may pass. `flags` are those of `dvc repro`, `settings` are of the environment;
    `around` are commands of DVC before and after it, whose failures may pass.
    """
    became, at, (before, after) = "unchanged", 0, around
    commands = [*before, ["repro", "--single-item", *flags, name], *after]

    def hear(line: str) -> None:
        nonlocal became, at
        if line.startswith(NEXT):
            at = int(line.removeprefix(NEXT))
            return
        became = _outcome(name, line) or became
        say(line)

    try:
        _call([["--wait-for-lock", *one] for one in commands], hear, settings=settings)
    except StepError as error:
        if at == len(before):
            raise type(error)(f"stage {name} failed: {error}") from None
        raise TryAgain(f"dvc {' '.join(commands[at])}: {error}") from None
    return became


def call(
    arguments: list[str],
    say: Callable[[str], None],
    folder: Path = Path(),
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run a command of DVC in a folder; its lines go to `say`, but for chatter.

    StepError with the line that tells most where it fails, TryAgain where that may pass.
    """
    _call([arguments], say, folder, settings)


def _call(
    commands: list[list[str]],
    say: Callable[[str], None],
    folder: Path = Path(),
    settings: Mapping[str, str] | None = None,
) -> None:
    """The same of several commands, in one process: to load DVC takes longer than many a stage."""
    last = deque[str](maxlen=KEPT_LINES)
    alone = len(commands) == 1
    told = ["-m", "dvc", *commands[0]] if alone else ["-c", LOOP, json.dumps(commands)]
    around = environment() | dict(settings or {})
    with leash.started([sys.executable, "-P", *told], folder, around) as process:
        assert process.stdout
        for line in (unsigned(raw.rstrip()) for raw in process.stdout):
            if line.startswith(NEXT):
                last.clear()
                say(line)
            elif line and not line.startswith(CHATTER):
                last.append(line)
                say(line)
        code = process.wait()
    if leash.stopped():
        raise StepError("it was stopped")
    if code:
        raise _error(code, last)


def _error(code: int, last: Sequence[str]) -> StepError:
    """Tell a failure that may pass from one that someone has to mend."""
    ended = next((int(found[1]) for line in last if (found := FAILED.match(line))), 0)
    if number := _signal(code):
        return TryAgain(f"dvc was killed (signal {number}); last it said: {failure(last)}")
    if number := _signal(ended):
        shell = signal.strsignal(number) or "killed"  # it may say so itself, after all else
        said = failure([line for line in last if not line.startswith(shell)])
        return TryAgain(f"it was killed (signal {number}); last it said: {said}")
    said = failure(last)
    passes = ended == AGAIN or (not ended and any(map(SILENT.match, last)))
    return TryAgain(said) if passes else StepError(said)


def _signal(status: int) -> int:
    """The signal that ended a process, as Python or a shell tells it; 0 where none did."""
    return -status if status < 0 else status - 128 if 128 < status < 160 else 0


def environment() -> dict[str, str]:
    """Give the environment of a stage: `python` in dvc.yaml is the Python that runs this."""
    here = str(Path(sys.executable).parent)
    quiet = OFFLINE | {"DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    return quiet | os.environ | {"PATH": path}


def failure(lines: Iterable[str]) -> str:
    """Choose the line that tells most: ours (`error: `); else the last of the stage, or the first
    of DVC where that did not fail."""
    said = [line.strip() for line in lines]
    ours = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    own = [line for line in said if not line.startswith(("ERROR: ", "Running stage ", "> "))]
    dvc = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    if dvc and not any(map(FAILED.match, said)):
        own = dvc[:1]
    return (ours or own or dvc or ["it said nothing"])[-1]


def _outcome(name: str, line: str) -> str | None:
    """Read from a line of DVC's what became of the stage, if it says so."""
    if line.startswith(f"Stage '{name}' is cached"):
        return "restored"
    return "ran" if line.startswith(f"Running stage '{name}'") else None


def _why(reasons: list[object]) -> str:
    """Put DVC's reasons for a stage being stale into one line."""
    parts = [one.items() if isinstance(one, dict) else [(str(one), ())] for one in reasons]
    named = [(kind, ", ".join(names)) for part in parts for kind, names in part]
    return "; ".join(f"{kind}: {names}" if names else kind for kind, names in named)
