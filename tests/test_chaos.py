"""Any process may die at any moment: the demo's graph on a small field, by a fleet, and SIGKILL.

    python -m pytest -m slow tests/test_chaos.py -s

A Prefect server, MLflow, a controller and two workers. At random moments one of them, or a flow, is
killed, and started again as a person would: by `outplant up`, and by another run of `train`.
"""

import json
import random
import re
import shutil
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests import projects, rig
from tests.test_graph import field

KILLS, DEALS, SEED = 20, 3, 20261130  # each is killed three times
BETWEEN_SECONDS, DOWN_SECONDS = (4.0, 14.0), (0.5, 4.0)  # kills; before what died is started again
MOST_SECONDS = 3000.0
PUSH_SECONDS = 15.0  # of a worker, from the end of a stage's command until all of it is pushed
VICTIMS = ("cpu-1", "gpu-1", "controller", "prefect", "mlflow", "train", "stage")
TIMED = re.compile(  # in JSON, and in the report's table of latencies
    r'"[a-z_0-9]*(second|latency|p50|p95|_ms)[a-z_0-9]*": ?[-0-9.e]+|<tr class="\w+">.* MB</td>.*'
)


@pytest.mark.slow
def test_whatever_is_killed_the_run_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    quiet, shaken = small(tmp_path / "quiet"), tmp_path / "shaken"
    shutil.copytree(quiet, shaken)
    noted = {"ENDED": str(tmp_path / "quiet.log")}
    rig.Rig(quiet, rig.settings(quiet) | noted, {}).dvc("repro")
    with rig.fleet(shaken, {"ENDED": str(tmp_path / "shaken.log")}, cpu=1, gpu=1) as fleet:
        chaos = Chaos(fleet, random.Random(SEED))
        chaos.through()
        states = chaos.settled()
    said = {"kills": Counter(kill.victim for kill in chaos.kills), "train_runs": chaos.asked}
    print(json.dumps(said | {"states": Counter(states.values())}))
    assert len(chaos.kills) >= KILLS
    assert differences(quiet, shaken) == []
    assert unexcused(tmp_path / "shaken.log", lock(shaken), chaos.kills) == []


def small(out: Path) -> Path:
    """The demo's graph on a small field; each stage notes when its command has ended well."""
    project = projects.clone(out, {})
    params = field(project / "field")
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    for stage in graph["stages"].values():
        body = stage.get("do", stage)
        body["cmd"] += f' && echo "$(date +%s.%N) {body["cmd"]}" >> "$ENDED"'
    (project / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False, width=1000))
    return projects.commit(project)


@dataclass(frozen=True)
class Kill:
    """What was killed and when; of a stage's flow, the name of its run too."""

    victim: str
    at: float
    stage: str = ""


class Chaos:
    """Kills, mends and asks again, until a run of `train` has come through."""

    def __init__(self, fleet: rig.Rig, chance: random.Random) -> None:
        self.fleet, self.chance = fleet, chance
        self.kills: list[Kill] = []
        self.asked = 0

    def through(self) -> None:
        deadline = time.monotonic() + MOST_SECONDS
        deck = list(VICTIMS) * DEALS
        self.chance.shuffle(deck)
        while not self._trained() or deck:
            assert time.monotonic() < deadline, f"after {len(self.kills)} kills it goes on"
            time.sleep(self.chance.uniform(*BETWEEN_SECONDS))
            if deck and self._kill(deck[-1]):
                deck.pop()
                time.sleep(self.chance.uniform(*DOWN_SECONDS))
                self.fleet.up()
            elif deck:
                deck.insert(0, deck.pop())  # there is none now

    def settled(self) -> dict[str, str]:
        """Wait until no run is said to go on; return what became of each."""
        deadline = time.monotonic() + 300
        while going := {one["id"] for one in self._runs() if one["state_type"] not in ENDS}:
            assert time.monotonic() < deadline, going
            time.sleep(2)
        return {one["id"]: one["state_type"] for one in self._runs()}

    def _trained(self) -> bool:
        """Whether the newest run of `train` has come through; another is asked for where not."""
        runs = [one for one in self._runs() if "chaos" in one["tags"]]
        newest = max(runs, key=lambda one: one["created"], default=None)
        if newest and newest["state_type"] == "COMPLETED":
            return True
        if newest is None or newest["state_type"] in ENDS:
            (found,) = self._ask("deployments/filter", BY_HAND)
            asked = {"parameters": {"fleet": True}, "tags": ["chaos", "outplant"]}
            self._ask(f"deployments/{found['id']}/create_flow_run", asked)
            self.asked += 1
        return False

    def _runs(self) -> list[dict[str, Any]]:
        """All that were asked for; what is planned for coming nights is not."""
        found = self._ask("flow_runs/filter", {"limit": 200})
        return [one for one in found if "auto-scheduled" not in one["tags"]]

    def _ask(self, path: str, what: dict[str, Any]) -> Any:
        """Ask Prefect, and again where it is busy: on SQLite it answers 503 then."""
        deadline = time.monotonic() + 180
        while True:
            address = self.fleet.known()["prefect"]["address"]
            try:
                return (
                    httpx.post(f"{address}/{path}", json=what, timeout=30).raise_for_status().json()
                )
            except httpx.HTTPError:
                assert time.monotonic() < deadline, f"nothing answers at {address}"
                time.sleep(1)

    def _kill(self, victim: str) -> bool:
        """Kill it, and nothing else, where there is one."""
        named = {"train": ["controller"], "stage": ["cpu-1", "gpu-1"]}
        if victim in named:
            flows = [one for name in named[victim] for one in self._flows(name)]
            if not flows:
                return False
            process = self.chance.choice(flows)
        else:
            process = psutil.Process(self.fleet.known()[victim]["pid"])
        run = process.environ().get("PREFECT__FLOW_RUN_ID", "")
        process.kill()
        process.wait(10)
        at = time.time()
        names = {one["id"]: one["name"] for one in self._runs()} if run else {}
        self.kills.append(Kill(victim, at, names.get(run, "")))
        return True

    def _flows(self, worker: str) -> list[psutil.Process]:
        """The processes of flows that a worker started, whether it lives or not."""
        mark = f"{self.fleet.project / '.outplant'}:{worker}"
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):  # it has just ended, or is another user's
                if "prefect.engine" in " ".join(one.cmdline()):
                    found += [one] if one.environ().get("OUTPLANT_UP") == mark else []
        return found


ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
BY_HAND = {"deployments": {"name": {"any_": ["by-hand"]}}, "flows": {"name": {"any_": ["train"]}}}


def lock(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    return found


def differences(quiet: Path, shaken: Path) -> list[str]:
    """Where locks and outs differ, but for the times that a few of them hold, and their hashes."""
    one, other = lock(quiet), lock(shaken)
    found = [] if set(one) == set(other) else [f"stages {set(one) ^ set(other)}"]
    timed = {name for name in files(one, quiet) if differ(quiet / name, shaken / name)}
    for name in sorted(timed):
        if differ(quiet / name, shaken / name, TIMED):
            found.append(name)
    for stage in sorted(set(one) & set(other)):
        mine, theirs = (bare(entry[stage], timed) for entry in (one, other))
        if mine != theirs:
            found.append(f"dvc.lock, {stage}")
    return found


def files(entries: dict[str, Any], project: Path) -> list[str]:
    outs = {out["path"] for entry in entries.values() for out in entry.get("outs", [])}
    found = [path for out in outs for path in [project / out, *(project / out).rglob("*")]]
    return sorted(str(path.relative_to(project)) for path in found if path.is_file())


def differ(one: Path, other: Path, but: re.Pattern[str] | None = None) -> bool:
    if not other.exists():
        return True
    mine, theirs = (path.read_bytes() for path in (one, other))
    if but is None or mine == theirs:
        return mine != theirs
    return but.sub("", mine.decode(errors="replace")) != but.sub(
        "", theirs.decode(errors="replace")
    )


def bare(entry: dict[str, Any], timed: set[str]) -> dict[str, Any]:
    """An entry of dvc.lock; of what holds times without hash and size."""

    def held(part: dict[str, Any]) -> dict[str, Any]:
        path = part["path"]
        if any(name == path or name.startswith(f"{path}/") for name in timed):
            return {"path": path}
        return part

    return entry | {kind: [held(one) for one in entry.get(kind, [])] for kind in ("deps", "outs")}


def unexcused(log: Path, entries: dict[str, Any], kills: list[Kill]) -> list[str]:
    """Commands that ended well twice, though their flow was not killed before all was pushed."""
    ends: dict[str, list[float]] = defaultdict(list)
    for line in log.read_text().splitlines():
        at, _, command = line.partition(" ")
        (stage,) = (name for name, one in entries.items() if one["cmd"].startswith(f"{command} &&"))
        ends[stage].append(float(at))
    return [
        f"{stage}: {times}"
        for stage, times in ends.items()
        for end in times[:-1]
        if not any(kill.stage == stage and 0 <= kill.at - end <= PUSH_SECONDS for kill in kills)
        and not stage.startswith("register")  # which runs at each repro
    ]
