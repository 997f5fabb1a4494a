"""The servers and workers of this machine: started, found again and stopped, with no orphan left.

`.outplant/servers.json` says what was started. A pid stands there beside the time its process
began, so that a number which the system has given to another process is never killed.
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from pipelines import connection, stages
from steps.core import files
from steps.core.entry import StepError

FOLDER = Path(".outplant")
STATE = FOLDER / "servers.json"
ADDRESSES = {"prefect": "PREFECT_API_URL", "mlflow": connection.TRACKING}
MARK = "OUTPLANT_UP"  # in the environment of all that we start, and so of all that these start
WAIT_SECONDS = 180.0  # a first start makes databases
SAY_SECONDS = 5.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.2
CLOCK_SECONDS = 2.0  # a clock that is set moves the time that a process is said to have begun


@dataclass(frozen=True)
class Process:
    """One that we started: when it began tells it from another that has its pid now."""

    name: str
    pid: int
    began: float
    address: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _same(self.pid, self.began) is not None


@dataclass(frozen=True)
class Wanted:
    """What is to run: its command, what it needs in its environment, and how it says it is ready.

    `ready`: an URL that answers, else a word of its log.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    ready: str
    address: str = ""

    @property
    def log(self) -> Path:
        """Where its lines go."""
        return FOLDER / "logs" / f"{self.name}.log"


def known() -> dict[str, Process]:
    """Return what was started here and not stopped, whether it still runs or not."""
    if not STATE.exists():
        return {}
    listed = [Process(**one) for one in json.loads(STATE.read_text(encoding="utf-8"))]
    return {one.name: one for one in listed}


def running() -> dict[str, Process]:
    """Return what was started here and still runs."""
    return {name: one for name, one in known().items() if one.alive()}


def here() -> dict[str, str]:
    """Return the addresses of what runs here, as the environment settings that name them."""
    found = running()
    return {key: found[name].address for name, key in ADDRESSES.items() if name in found}


@contextmanager
def alone() -> Iterator[None]:
    """StepError where another `outplant up` or `outplant down` is at work in this folder."""
    FOLDER.mkdir(exist_ok=True)
    try:
        with FileLock(FOLDER / "servers.lock", timeout=0):
            yield
    except Timeout:
        raise StepError("another `outplant up` or `down` is at work here; wait for it") from None


def start(wanted: Wanted) -> Process:
    """Start a process that outlives us, in a session of its own."""
    wanted.log.parent.mkdir(parents=True, exist_ok=True)
    with wanted.log.open("wb") as log:
        child = subprocess.Popen(
            wanted.command,
            cwd=wanted.folder,
            env=stages.environment() | wanted.environment | {MARK: _mark(wanted.name)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child.returncode = 0  # it outlives us: Popen is not to wait for it, nor to miss that
    began = psutil.Process(child.pid).create_time()
    started = Process(wanted.name, child.pid, began, wanted.address)
    _write(known() | {wanted.name: started})
    return started


def wait(wanted: Wanted, started: Process, say: Callable[[str], None]) -> None:
    """Wait until it is ready; StepError with the last line of its log where it never is."""
    begun, said = started.began, time.time()
    while not _ready(wanted.ready, wanted.log):
        now = time.time()
        if not started.alive() or now - begun > WAIT_SECONDS:
            last = stages.failure(wanted.log.read_text(errors="replace").splitlines())
            raise StepError(f"{wanted.name} did not start: {last} (all of it: {wanted.log})")
        if now - said >= SAY_SECONDS:
            said = now
            say(f"{wanted.name}: waiting for it, {now - begun:.0f} s")
        time.sleep(POLL_SECONDS)
    say(f"{wanted.name}: ready after {time.time() - begun:.0f} s {wanted.address}".rstrip())


def _ready(how: str, log: Path) -> bool:
    if how.startswith("http"):
        return answers(how)
    return how in log.read_text(errors="replace")


def answers(url: str) -> bool:
    """Whether anything that is well answers there; to ask for a login is an answer too."""
    try:
        urllib.request.urlopen(url, timeout=connection.WAIT_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except OSError:
        return False
    return True


def port(usual: int) -> int:
    """Return the usual port where it is free, else one that is."""
    for number in (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StepError("no port is free on 127.0.0.1; stop something")


def stop(names: Iterable[str]) -> int:
    """End these and all that they started; return how many processes that was.

    Workers go first, so that the server still hears what becomes of their runs.
    """
    listed = known()
    chosen = [listed[name] for name in names if name in listed]
    workers = [one for one in chosen if one.name not in ADDRESSES]
    servers = [one for one in chosen if one.name in ADDRESSES]
    ended = _end(workers) + _end(servers)
    _write({name: one for name, one in listed.items() if one not in chosen})
    return ended


def sweep(name: str) -> None:
    """End what a server that died has left behind: its children hold its port."""
    if dead := known().get(name):
        _end([dead])


def _end(roots: list[Process]) -> int:
    """Ask them all to end, then make them; what they start meanwhile is found again."""
    found = _family(roots)
    for one in found:
        _order(one, "terminate")
    psutil.wait_procs(found, timeout=STOP_SECONDS)
    late = _family(roots)
    for one in late:
        _order(one, "kill")
    psutil.wait_procs(late, timeout=STOP_SECONDS)
    return len(found)


def _order(process: psutil.Process, order: str) -> None:
    with suppress(psutil.NoSuchProcess):
        getattr(process, order)()


def _family(roots: list[Process]) -> list[psutil.Process]:
    """Find processes, what they started, and what that left behind when it died: by our mark."""
    marks = {_mark(one.name) for one in roots}
    found = {one.pid: one for one in psutil.process_iter() if marks and _marked(one) in marks}
    for root in roots:
        if process := _same(root.pid, root.began):
            found[process.pid] = process
            with suppress(psutil.NoSuchProcess):
                found.update({one.pid: one for one in process.children(recursive=True)})
    return [one for one in found.values() if one.pid != os.getpid()]


def _mark(name: str) -> str:
    return f"{FOLDER.absolute()}:{name}"


def _marked(process: psutil.Process) -> str:
    try:
        return str(process.environ().get(MARK, ""))
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return ""


def _same(pid: int, began: float) -> psutil.Process | None:
    """Return the process of that pid, if it began then and is no zombie."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        other = abs(process.create_time() - began) > CLOCK_SECONDS
        if not other and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _write(processes: dict[str, Process]) -> None:
    if processes:
        files.write_json(STATE, [asdict(one) for one in processes.values()])
    else:
        STATE.unlink(missing_ok=True)
