"""One stage as a task does it: its lines are logged, its progress shown, its time kept."""

import re
import time
from collections.abc import Sequence
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pipelines import history, pools, stages
from pipelines.stages import Commands, Ran


def run(
    stage: str,
    pool: str,
    flags: Sequence[str] = (),
    around: tuple[Commands, Commands] = ((), ()),
) -> Ran:
    """Run a stage in this clone, under its pool's launcher; the rest is as `stages.run` has it."""
    logger = get_run_logger()
    started = time.monotonic()
    became = history.tailed(
        stage,
        lambda: stages.run(
            stage,
            lambda line: logger.info("%s | %s", stage, line),
            flags,
            pools.launch(pool),
            around,
        ),
        lambda line: logger.warning("%s | warning: %s", stage, line),
        Progress(stage).tell,
    )
    return Ran(stage, became, time.monotonic() - started)


class Progress:
    """How far an adaptation is, on the page of its run."""

    def __init__(self, stage: str) -> None:
        self.key = re.sub(r"[^a-z0-9]+", "-", stage.lower()).strip("-")
        self.artifact: UUID | None = None

    def tell(self, row: history.Row) -> None:
        """Show the newest row of the history; of a server that is away the next row is shown."""
        share = min(100.0, 100 * row["step"] / max(row["steps"], 1))
        said = f"step {row['step']:.0f} of {row['steps']:.0f}, loss {row['loss']:.3f}, "
        said += f"{row['tokens_per_second']:.0f} tokens/s"
        try:
            if self.artifact is None:
                self.artifact = cast(UUID, create_progress_artifact(share, self.key, said))
            else:
                update_progress_artifact(self.artifact, share, said)
        except httpx.HTTPError as error:
            get_run_logger().debug("progress is not shown: %s", error)
