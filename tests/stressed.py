"""Many processes that promote and roll back one model at once, some of which are killed.

A move has a number, which no other has: it is taken from `taken` before, and noted in `done` after.
Both are files that are only appended to, which no kill can leave locked or torn.
"""

import multiprocessing
import os
import random
import re
import signal
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess, ForkServerContext
from pathlib import Path

from pipelines import promotion, record, registry
from steps.core.entry import StepError

PRELOAD = ["mlflow", "psycopg2", "pyarrow.parquet", "pydantic", "scipy.stats", "sklearn.metrics"]
PRELOAD += [f"mlflow.store.{name}.sqlalchemy_store" for name in ("model_registry", "tracking")]
TASK, VERSIONS = "changes", (1, 2, 3)  # tiny_project's, which would import torch
NOTHING_BEFORE = "had no champion before|has no champion to roll back"


def take() -> int:
    """Take the number of a move: where one's own byte came to lie in a file."""
    file = os.open("taken", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(file, b".")
    number = os.lseek(file, 0, os.SEEK_CUR)
    os.close(file)
    return number


def work(moves: int, seed: str) -> None:
    """Make moves until all are taken."""
    chance = random.Random(seed)
    while (number := take()) <= moves:
        while not move(number, chance):
            pass
        with Path("done").open("ab", buffering=0) as done:
            done.write(f"{number}\n".encode())


def move(number: int, chance: random.Random) -> bool:
    """Promote or roll back, whatever is judged; say whether anything moved."""
    reason = f"move {number}"
    if chance.random() < 0.6:
        return promotion.promote(TASK, chance.choice(VERSIONS), True, reason).moved
    try:
        return promotion.rollback(TASK, reason, None).moved
    except StepError as error:
        if not re.search(NOTHING_BEFORE, str(error)):
            raise
        return False


def kill(workers: list[ForkProcess], moves: int, kills: int, chance: random.Random) -> None:
    """Kill some at random moments: every other time the one that holds the lock."""
    taken = Path("taken")
    for number, when in enumerate(sorted(chance.choices(range(moves // 10, moves), k=kills))):
        while not taken.exists() or taken.stat().st_size < when:
            wait([worker.sentinel for worker in workers], timeout=0.01)
            if not any(worker.is_alive() for worker in workers):
                return
        wait([], timeout=chance.uniform(0, 0.1))
        alive = {worker.pid: worker for worker in workers if worker.is_alive()}
        with record.if_free(TASK) as holder:
            said = re.match(r"pid (\d+) ", holder)
        holding = alive.get(int(said[1])) if said and number % 2 else None
        victim = holding or chance.choice(list(alive.values()))
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
        workers.remove(victim)


def preloaded() -> ForkServerContext:
    """Give what starts processes off one that has imported all."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOAD)
    return server


def stress(folder: Path, uri: str, processes: int, moves: int, kills: int) -> list[int | None]:
    """Let them loose in a folder; return how each ended."""
    server = preloaded()
    ends, end = server.Pipe(duplex=False)
    first = server.Process(target=fork, args=(folder, uri, (processes, moves, kills), end))
    first.start()
    end.close()
    found: list[int | None] = ends.recv()
    first.join()
    return found


def die(folder: Path, uri: str, version: int) -> None:
    """Promote a version, and be killed between record and alias."""
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    registry.crown = lambda found: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    promotion.promote(TASK, version, True, "the last thing it did")


def fork(folder: Path, uri: str, numbers: tuple[int, int, int], end: Connection) -> None:
    """Be the process that has imported all, and opened nothing, off which the others are forked."""
    processes, moves, kills = numbers
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.dup2(os.open("said.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(moves, f"{n}")) for n in range(processes)]
    for worker in workers:
        worker.start()
    survivors = list(workers)
    kill(survivors, moves, kills, random.Random(7))
    for worker in survivors:
        worker.join()
    end.send([worker.exitcode for worker in workers])
