"""Flow `train`: DVC's graph as Prefect tasks. One task is one stage, and is named after it."""

import logging
import sys
import time
from dataclasses import dataclass
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging.configuration import setup_logging

from pipelines import history, stages, status


@dataclass(frozen=True)
class Ran:
    """What became of a stage: `ran`, `restored` (from DVC's cache) or `unchanged`."""

    stage: str
    became: str
    seconds: float


@task(cache_policy=NO_CACHE, persist_result=False)
def run_stage(name: str, place: str) -> Ran:
    """Run one stage of dvc.yaml; DVC's cache is the only one, so that Prefect's is off."""
    logger = get_run_logger()
    logger.info("%s %s", place, name)
    started = time.monotonic()
    became = history.tailed(
        name,
        lambda: stages.run(name, lambda line: logger.info("  %s", line)),
        lambda line: logger.warning("  warning: %s", line),
    )
    ran = Ran(name, became, time.monotonic() - started)
    logger.info("%s %s: %s, %.1f s", place, name, ran.became, ran.seconds)
    return ran


@flow(name="train", persist_result=False, validate_parameters=False)
def train() -> list[Ran]:
    """Bring every out of dvc.yaml up to date; one stage at a time, for torch takes all cores."""
    todo = stages.read().affected()
    states: dict[str, Any] = {}
    for number, stage in enumerate(todo, 1):
        named = run_stage.with_options(name=stage.name, task_run_name=stage.name, tags=[stage.pool])
        states[stage.name] = named(
            stage.name,
            f"[{number}/{len(todo)}]",
            wait_for=[states[name] for name in stage.after if name in states],
            return_state=True,
        )
        states[stage.name].result()  # raises what the stage raised
    done: list[Ran] = [state.result() for state in states.values()]
    create_markdown_artifact(key="train", markdown=report(done), description="The run's result")
    return done


def report(done: list[Ran]) -> str:
    """Write what ran, and the table of `outplant status`, as Markdown."""
    rows = [f"| {ran.stage} | {ran.became} | {ran.seconds:.1f} |" for ran in done]
    ran = ["| stage | what became of it | seconds |", "|---|---|---|", *rows]
    return "\n".join(["## Results", "", status.markdown(status.read()), "", "## Stages", "", *ran])


def show_lines() -> None:
    """Show what our tasks log on stderr, bare; what Prefect itself logs stays with its server."""
    setup_logging()  # before: it removes the handlers that it did not make
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.module == "training")
    logging.getLogger("prefect.task_runs").addHandler(handler)
