"""The command of `outplant` that looks at a champion again."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from steps.core.entry import StepError

Task = Annotated[str, typer.Argument(help="A task of params.yaml; without, all with a champion.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WORSE = 3  # the exit status


def add(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(champion_check)


def champion_check(
    task: Task = "",
    requests: Annotated[
        Path | None, typer.Option(help="A log of `outplant serve --log`, in place of the test set.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold the champion against the newest data: its metric, and what of texts and answers moved.

    Runs what is stale up to the task's split, trains nothing, moves nothing; writes
    checks/TASK/check.html, of requests requests.html. Exit status: 0, 3 where a champion is shown
    worse, 1 for an error.
    """
    from pipelines import champion_check as checking
    from pipelines import champion_report

    tasks = [task] if task else checking.champions()
    if not tasks:
        _tell("warning: no task has a champion; `outplant promote TASK` makes one")
    found, failed = [], False
    for name in tasks:
        try:
            found.append(champion_report.check(name, _tell, _warn, requests))
        except StepError as error:  # of one task; the others are checked all the same
            _tell(f"error: {' '.join(str(error).split())}")
            failed = True
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        champion_report.show(found, sys.stdout)
    worse = any(one.get("verdict") == "worse" for one in found)
    raise typer.Exit(1 if failed else WORSE if worse else 0)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _warn(line: str) -> None:
    _tell(f"warning: {line}")
