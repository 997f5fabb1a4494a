"""The commands of `outplant` that follow a version back, and carry it on."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
At = Annotated[str, typer.Argument(help="TASK, or TASK@VERSION such as entities@2.")]


def add(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (lineage, uses, reproduce):
        app.command()(command)


def lineage(version: At, as_json: AsJson = False) -> None:
    """Show what a version was made from: commit, data, stages, params, and who promoted it.

    Of a task alone its champion is meant, else its challenger.
    """
    from pipelines import tracing, tracing_table

    found = tracing.trace(tracing.named(version))
    if as_json:
        _print_json(found)
    else:
        tracing_table.show_lineage(found, sys.stdout)


def uses(
    what: Annotated[str, typer.Argument(help="A corpus, a source, a file, or a hash of one.")],
    as_json: AsJson = False,
) -> None:
    """Show every version of every task that saw a corpus or a file.

    A hash is md5 or sha256, or 8 or more digits that begin it.
    """
    from pipelines import tracing, tracing_table

    found = tracing.uses(what)
    if as_json:
        _print_json(asdict(found))
    else:
        tracing_table.show_uses(found, sys.stdout)


def reproduce(
    version: At,
    everything: Annotated[
        bool, typer.Option(help="From the raw files on, adaptations and all.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version's bundle anew at its commit, and compare it file by file.

    Candidates are trained again; documents, splits and adapted models are fetched by their hashes.
    Exit status: 0 the same, 1 not.
    """
    from pipelines import reproduction, tracing, tracing_table

    found = reproduction.reproduce(tracing.named(version), everything, _tell)
    if as_json:
        _print_json(found)
    else:
        tracing_table.show_compared(found, sys.stdout)
    raise typer.Exit(0 if set(found.values()) == {"same"} else 1)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))
