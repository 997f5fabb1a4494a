"""What does Outplant's running of a graph cost over `dvc repro`, here and on a fleet?

    python -m tests.bench.flow [--rounds 3] [--no-fleet]

Sixty trivial stages in four chains: `dvc repro` and `outplant train` in pairs, then the same graph
by two workers through an S3 on this machine; then twelve stages of twenty seconds, by `dvc repro`,
by one worker and by two. The fleets' Prefect has a PostgreSQL, where there is one here: on SQLite
it stands still for minutes at times. Prints one JSON line a result, the summary last.
"""

import argparse
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import postgres, projects, rig

STAGES, CHAINS = 60, 4
SLOW_STAGES, SLOW_SECONDS = 12, 20
STEP = """import os, sys, time
time.sleep(float(sys.argv[2]))
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)  # which a new clone has not
with open(sys.argv[1], "w") as out:
    out.write(" ".join(sys.argv))
"""
MADE = ("dvc.lock", "made", ".dvc/cache", ".dvc/tmp", ".outplant/times.jsonl")
FIRST, LAST = re.compile(r"^\[1/\d+\] \S+$"), re.compile(r"^\[\d+/\d+\] \S+: \w+, ")


def graph(project: Path, number: int, chains: int, seconds: float) -> None:
    """Write and commit a graph: a stage reads what the one before it in its chain made."""
    stages: dict[str, dict[str, object]] = {}
    for at in range(number):
        before = [f"made/{at - chains}.txt"] if at >= chains else []
        stages[f"s{at}"] = {
            "cmd": f"python step.py made/{at}.txt {seconds}",
            "deps": ["step.py", *before],
            "outs": [f"made/{at}.txt"],
        }
    rig.regraph(project, stages)
    (project / "step.py").write_text(STEP)
    ignore = (project / ".gitignore").read_text()
    (project / ".gitignore").write_text(ignore + "\n/made/\n")
    projects.commit(project)


def clear(project: Path) -> None:
    """Forget all that was made."""
    for name in MADE:
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (project / "made").mkdir()


def timed(work: Callable[[], object]) -> float:
    """Give the seconds that something takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def trained(here: rig.Rig) -> tuple[float, float]:
    """Run `outplant train` and give its seconds, and those from its first stage to its last."""
    began = time.monotonic()
    first = last = 0.0
    with subprocess.Popen(
        [sys.executable, "-c", "from pipelines.cli import app; app()", "train"],
        cwd=here.project,
        env=here.settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            first = first or (time.monotonic() if FIRST.match(line) else 0.0)
            last = time.monotonic() if LAST.match(line) else last
    assert process.returncode == 0, "".join(lines)
    return time.monotonic() - began, last - first


def local(here: rig.Rig, rounds: int) -> dict[str, float]:
    """Compare `dvc repro` with `outplant train` in pairs: a whole graph, and nothing to do."""
    over, noops, rows = [], [], []
    for _ in range(rounds):
        clear(here.project)
        repro = timed(lambda: here.dvc("repro"))
        clear(here.project)
        whole, stages = trained(here)
        status = timed(lambda: here.dvc("status"))
        again = timed(lambda: here.outplant("train"))
        noop = timed(lambda: here.dvc("repro"))
        over.append((stages - repro) / STAGES)
        noops.append(again - status)
        rows.append([repro, whole, stages, status, again, noop])
    names = ("dvc_repro", "train", "train_started", "dvc_status", "train_noop", "dvc_noop")
    medians = [round(statistics.median(column), 2) for column in zip(*rows, strict=True)]
    print(json.dumps({"what": "local", **dict(zip(names, medians, strict=True))}), flush=True)
    return {
        "seconds_per_stage_over_dvc": round(statistics.median(over), 3),
        "noop_seconds_over_status": round(statistics.median(noops), 2),
    }


def away(project: Path, databases: list[dict[str, str]]) -> dict[str, float]:
    """Measure fleets of two workers and of one against `dvc repro`; stages trivial and slow."""
    found: dict[str, float] = {}
    graph(project, STAGES, CHAINS, 0)
    clear(project)
    with rig.fleet(project, databases[0], cpu=2) as two:
        seconds = timed(lambda: two.outplant("train", "--fleet"))
        noop = timed(lambda: two.outplant("train", "--fleet"))
        row = {"what": "fleet_trivial", "seconds_a_stage": round(seconds / STAGES, 2)}
        print(json.dumps(row | {"noop": round(noop, 2)}), flush=True)
        graph(project, SLOW_STAGES, CHAINS, SLOW_SECONDS)
        clear(project)
        repro = timed(lambda: two.dvc("repro"))
        clear(project)
        # other seconds: other commands, which are in no run cache
        found["fleet_of_two"] = timed(lambda: two.outplant("train", "--fleet"))
    graph(project, SLOW_STAGES, CHAINS, SLOW_SECONDS + 0.01)
    clear(project)
    with rig.fleet(project, databases[1], cpu=1) as one:
        found["fleet_of_one"] = timed(lambda: one.outplant("train", "--fleet"))
    found["dvc_repro"] = repro
    rounded = {name: round(value, 1) for name, value in found.items()}
    print(json.dumps({"what": "fleet_slow", **rounded}), flush=True)
    return {
        "fleet_speedup": round(repro / found["fleet_of_two"], 2),
        "fleet_speedup_over_one_worker": round(found["fleet_of_one"] / found["fleet_of_two"], 2),
    }


@contextlib.contextmanager
def fleets_databases() -> Iterator[list[dict[str, str]]]:
    """Settings that give the Prefect of each fleet a PostgreSQL of its own, or nothing."""
    if why := postgres.absent():
        print(f"{why}; Prefect keeps its records in SQLite", file=sys.stderr)
        yield [{}, {}]
        return
    with postgres.cluster() as server:
        made = [server.copy("template1").replace("psycopg2", "asyncpg") for _ in range(2)]
        yield [{"PREFECT_SERVER_DATABASE_CONNECTION_URL": one} for one in made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-fleet", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = projects.clone(Path(folder) / "project", {})
        graph(project, STAGES, CHAINS, 0)
        here = rig.Rig(project, rig.settings(project), {})
        summary: dict[str, object] = {"what": "summary", **local(here, asked.rounds)}
        if not asked.no_fleet:
            with fleets_databases() as databases:
                summary |= away(project, databases)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
