"""`outplant`: what a person or a schedule asks for. Heavy imports wait for their command."""

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pipelines import (
    checking_commands,
    server_commands,
    serving_commands,
    tracing_commands,
    using_commands,
)
from steps.core.entry import OFFLINE, StepError

if TYPE_CHECKING:
    from pipelines.promotion import Outcome

SETTINGS = OFFLINE | {
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 are too few on a slow machine
}
EXITS = {"refuse": 3, "inconclusive": 4}


class Commands(TyperGroup):
    """Commands of which each StepError is one line on stderr, and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            return super().invoke(ctx)
        except StepError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Adapt a language model to your field, see whether that paid, promote the winner.",
)
Task = Annotated[str, typer.Argument(help="A task of params.yaml, such as entities.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show tasks x recipes: metric and interval, winner, champion, verdict."""
    from pipelines import status as table

    rows = table.read()
    if as_json:
        _print_json(table.as_json(rows))
    else:
        table.show(rows, sys.stdout)
    for line in table.pending():
        typer.echo(f"warning: {line}", err=True)


@app.command()
def check() -> None:
    """Find what is wrong in params.yaml before a run does."""
    _check()
    typer.echo("params.yaml is in order")


def _check() -> None:
    from pipelines.preflight import preflight

    mistakes = preflight()
    for line in mistakes:
        typer.echo(f"error: {line}", err=True)
    if mistakes:
        raise typer.Exit(1)


@app.command()
def train(
    fleet: Annotated[
        bool, typer.Option("--fleet", help="Let workers run the stages; infra/README.md.")
    ] = False,
    queue: Annotated[str, typer.Option(help="Theirs: urgent, default or nightly.")] = "default",
    branch: Annotated[str, typer.Option(help="Commit dvc.lock to it, and push.")] = "",
) -> None:
    """Run what is stale in dvc.yaml as a Prefect flow: what can, side by side.

    PREFECT_API_URL names the server that shows the run; without it that of `outplant up`, or else
    a temporary one.
    """
    from pipelines import pools, servers, stages

    _check()
    pools.queue(queue)
    for setting, address in servers.here().items():
        os.environ.setdefault(setting, address)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a running stage is ended too
    started = time.monotonic()
    graph = stages.read()
    todo = graph.affected()
    if graph.unchanged():
        typer.echo(f"nothing is stale in {len(graph.stages)} stages")
        for stage in todo:
            stages.run(stage.name)
    else:
        _train_as_flow(fleet, queue, branch)
    typer.echo(f"done in {time.monotonic() - started:.0f} s; see `outplant status`")


def _train_as_flow(fleet: bool, queue: str, branch: str) -> None:
    from pipelines import admission

    admission.ask()
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    typer.echo("starting Prefect", err=True)
    from pipelines import training

    training.show_lines()
    training.train(fleet, queue, branch)


@app.command()
def overlap(  # noqa: PLR0913, PLR0917 - the options of a command
    left: Annotated[Path, typer.Argument(help="A file or folder, such as training data.")],
    right: Annotated[Path, typer.Argument(help="What is looked for in it, such as a test set.")],
    text: Annotated[str | None, typer.Option(help="The field that is compared.")] = None,
    ngram: Annotated[int, typer.Option(help="Words of a run that counts as contained.")] = 13,
    containment: Annotated[
        float, typer.Option(help="Share of a text's runs that one record must have; 0: one run.")
    ] = 0.0,
    near: Annotated[float, typer.Option(help="Jaccard similarity of word pairs.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Count the records of RIGHT whose text stands in LEFT, and show pairs.

    Each level includes the one before. RIGHT is held in memory, LEFT is streamed: give the larger
    file first.
    """
    from pipelines import overlap as files
    from pipelines import overlap_table
    from steps.corpora.matching import Rules

    found = files.overlap(left, right, text, Rules(ngram, containment, near))
    if as_json:
        _print_json(found.as_json())
    else:
        overlap_table.show(found, sys.stdout)


@app.command()
def compare(
    references: Annotated[Path, typer.Argument(help="A file with what is right, a row an item.")],
    a: Annotated[str, typer.Argument(help="Predictions: a file; several, one a seed: A1,A2.")],
    b: Annotated[str, typer.Argument(help="Predictions that may be better; a folder or 'b*' too.")],
    metric: Annotated[str, typer.Option(help="accuracy, macro_f1, span_f1, bleu, ...")],
    slices: Annotated[str | None, typer.Option(help="A column of REFERENCES to judge by.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether predictions B are better than A, for anyone's JSONL, CSV or Parquet files.

    Exit status: 0 promote (B is shown better), 3 refuse (shown worse, or on a slice), 4
    inconclusive.
    """
    from pipelines import comparison

    found = comparison.compare(references, a, b, metric, slices)
    if as_json:
        _print_json(found.as_json())
    else:
        comparison.show(found, sys.stdout)
    raise typer.Exit(EXITS.get(found.verdict, 0))


@app.command()
def release(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml, such as pydocs.")],
) -> None:
    """Make a corpus as it is now the version that drift is measured from."""
    from pipelines.release import release as write

    typer.echo(f"wrote {write(corpus)}; commit it")


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="A checkpoint, such as an author's pickles.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Make a checkpoint one of safetensors and tokenizer.json; a stranger's in a container."""
    from pipelines.conversion import convert as write

    typer.echo(f"wrote {out}: {write(folder, out)}")


@app.command()
def promote(  # noqa: PLR0913, PLR0917 - the options of a command
    task: Task,
    version: Annotated[int | None, typer.Option(help="Else the challenger.")] = None,
    force: Annotated[bool, typer.Option(help="Whatever the gate says; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    registry: Annotated[
        str, typer.Option(help="Copy it into this MLflow, and promote there.")
    ] = "",
    record: Annotated[str, typer.Option(help="The OUTPLANT_RECORD of that registry.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a challenger the champion, if the gate lets it.

    Exit status: 0 promoted or champion already, 3 refused, 4 inconclusive.
    """
    from pipelines import handover, promotion

    if registry:
        outcome = handover.promote(task, version, (registry, record), force, reason)
    else:
        outcome = promotion.promote(task, version, force, reason)
    _tell(outcome, as_json)


@app.command()
def rollback(
    task: Task,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")],
    to: Annotated[int | None, typer.Option(help="A version, else the champion before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion the champion again."""
    from pipelines import promotion

    _tell(promotion.rollback(task, reason, to), as_json)


@app.command()
def history(
    task: Task,
    verify: Annotated[
        bool, typer.Option("--verify", help="Find a line that was changed, taken out or cut off.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was promoted and rolled back: when, from, to, by what verdict, by whom and why."""
    from pipelines import moves, promotion

    if verify:
        number = promotion.verify(task)
        typer.echo(f"{number} move{'' if number == 1 else 's'}, chain intact")
        return
    events = promotion.history(task)
    if as_json:
        _print_json(events)
    elif events:
        moves.show(events, sys.stdout)
    else:
        typer.echo(f"no champion of {task} yet; `outplant promote {task}` makes one", err=True)


def _tell(outcome: "Outcome", as_json: bool) -> None:
    """Print what a promotion or a rollback came to; exit by its verdict where nothing moved."""
    if as_json:
        _print_json(asdict(outcome))
    else:
        for clause in outcome.verdict.clauses:
            typer.echo(clause)
        typer.echo(outcome.message)
    raise typer.Exit(0 if outcome.moved else EXITS.get(outcome.verdict.verdict, 0))


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


server_commands.add(app)
serving_commands.add(app)
tracing_commands.add(app)
checking_commands.add(app)
using_commands.add(app)
