"""infra/fleet.yaml: what a run may use of each pool; and how long its stages took before."""

import json
import os
import statistics
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import Field

from pipelines.stages import Ran, Stage
from steps.core.entry import StepError
from steps.core.params import Section, check, choose

FLEET = Path("infra/fleet.yaml")
TIMES = Path(".outplant/times.jsonl")
QUEUES = ("urgent", "default", "nightly")  # of each pool, as infra/prefect.yaml has them
LAST_RUNS = 5  # of a stage, whose median is what it is expected to take


class Pool(Section):
    """One pool; None is no limit of ours."""

    at_once: int | None = Field(ge=1)
    launch: str
    budget_minutes: float | None = Field(gt=0)

    def room(self) -> int:
        """How many of its stages run side by side on this machine."""
        return self.at_once or max(2, (os.cpu_count() or 1) // 2)


class Fleet(Section):
    """The whole file."""

    pools: dict[str, Pool]


def load() -> dict[str, Pool]:
    """Read infra/fleet.yaml; StepError names what is wrong in it."""
    try:
        said = yaml.safe_load(FLEET.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StepError(
            f"no {FLEET} here; expected the pools cpu and gpu in it, take it from git"
        ) from None
    except yaml.YAMLError as error:
        raise StepError(f"{FLEET} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise StepError(f"{FLEET} is {said!r}; expected `pools:` with the pools cpu and gpu in it")
    return check(Fleet, said, str(FLEET)).pools


def launch(pool: str) -> dict[str, str]:
    """Give the settings of the environment that put a stage of the pool under its launcher."""
    command = os.path.expandvars(choose(pool, load(), f"pool (in {FLEET})").launch)
    return {"OUTPLANT_LAUNCH": command} if command else {}


def queue(name: str) -> str:
    """Return the name of a queue; StepError where there is none of that name."""
    return choose(name, {known: known for known in QUEUES}, "queue")


def times() -> dict[str, float]:
    """Return the seconds that each stage took, the median of its last runs here."""
    found: dict[str, list[float]] = {}
    for line in TIMES.read_text().splitlines() if TIMES.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:  # a line that a kill cut short
            continue
        found.setdefault(row["stage"], []).append(row["seconds"])
    return {name: statistics.median(all_[-LAST_RUNS:]) for name, all_ in found.items()}


class Budget:
    """What a run may still take of each pool; what its stages take is kept for the next run."""

    def __init__(self, known: Mapping[str, Pool]) -> None:
        self.pools, self.before = known, times()
        self.taken = dict.fromkeys(known, 0.0)  # minutes; of stages that run as expected

    def take(self, stage: Stage) -> None:
        """Count a stage before it starts; StepError where it is expected to take too much."""
        limit = choose(stage.pool, self.pools, f"pool (in {FLEET})").budget_minutes
        expected = self.before.get(stage.name, 0.0) / 60
        left = (limit or 0.0) - self.taken[stage.pool]
        if limit is not None and expected > left:
            raise StepError(
                f"stage {stage.name} is not started: expected to take {expected:.1f} minutes of "
                f"{stage.pool}, as it did before, found {max(left, 0.0):.1f} of {limit:g} left; "
                f"raise pools.{stage.pool}.budget_minutes in {FLEET}"
            )
        self.taken[stage.pool] += expected

    def spend(self, stage: Stage, ran: Ran) -> None:
        """Count what it took indeed, in place of what was expected."""
        self.taken[stage.pool] += (ran.seconds - self.before.get(stage.name, 0.0)) / 60
        if ran.became == "ran":
            TIMES.parent.mkdir(exist_ok=True)
            with TIMES.open("a") as stream:
                row = {"stage": stage.name, "seconds": round(ran.seconds, 1)}
                stream.write(json.dumps(row) + "\n")
