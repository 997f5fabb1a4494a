"""The commands of `outplant` by which a registered version is used: on files, or elsewhere."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Task = Annotated[str, typer.Argument(help="A task of params.yaml, such as entities.")]


class Numbers(StrEnum):
    """What a model's weights may be turned into."""

    INT8 = "int8"


def add(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (predict, export):
        app.command()(command)


def predict(
    task: Task,
    source: Annotated[
        str, typer.Argument(metavar="[IN]", help="JSONL, CSV, Parquet: a file, a folder, s3://...")
    ] = "",
    out: Annotated[str, typer.Argument(metavar="[OUT]", help="A new file, folder, s3://...")] = "",
    version: Annotated[str, typer.Option(help="A number, or challenger.")] = "champion",
    prefix: Annotated[str, typer.Option(help="Of the names of the prediction's columns.")] = "",
) -> None:
    """Predict the rows of IN and write them, with the champion's predictions, to OUT.

    Killed, it goes on where it was when it is run again. Rows that cannot be predicted go to
    OUT.rejected.jsonl. Without IN and OUT it reads JSON lines with a `text` from stdin, and answers
    on stdout as they come.
    """
    from pipelines import batch, prediction
    from steps.core.entry import StepError

    if not source:
        for line in prediction.predict(task, prediction.arriving(sys.stdin), version):
            print(line, flush=True)
        return
    if not out:
        raise StepError(f"{source} is to be predicted into nothing; name a new file after it")
    done = batch.predict(task, source, out, version, prefix)
    said = f"{out}: {done.rows} rows predicted by version {done.version}"
    more = f", {done.rejected} rejected: see {done.rejected_at}" if done.rejected else ""
    typer.echo(said + more, err=True)


def export(
    version: Annotated[str, typer.Argument(help="TASK, or TASK@VERSION such as entities@2.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="model.onnx too, checked.")] = False,
    quantize: Annotated[
        Numbers | None, typer.Option(help="model.int8.onnx too, if the judge lets it.")
    ] = None,
) -> None:
    """Write a version as a plain Hugging Face folder: transformers loads it without this project.

    Of a task alone its champion is meant. Exit status: 0 written, 3 int8 costs more than
    gate.int8_margin, and nothing is written.
    """
    from pipelines import export as exports
    from pipelines import quantized

    try:
        done = exports.export(version, out, onnx, quantize is not None)
    except quantized.Refused as refused:
        quantized.show(refused.judged, sys.stdout)
        raise typer.Exit(3) from None
    if done.judged:
        quantized.show(done.judged, sys.stdout)
    typer.echo(f"wrote {out}, version {done.version}: {', '.join(done.files)}", err=True)
