"""`outplant predict`: lines of JSON in, the same lines with the champion's predictions out."""

import io
import json
import os
import select
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from steps.core.entry import StepError

BATCH = 32  # texts that a model sees at once
SILENT_SECONDS = 0.2  # of the input, after which what has come is answered
CHUNK = 1 << 16


def arriving(stream: TextIO) -> Iterator[str | None]:
    """Give the lines of a stream as they come, None where no more has come for a moment."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # it lies in memory
        yield from stream
        return
    rest = b""
    while True:
        if not select.select([descriptor], [], [], SILENT_SECONDS)[0]:
            yield None
            continue
        part = os.read(descriptor, CHUNK)
        *whole, rest = (rest + part).split(b"\n")
        yield from (line.decode(errors="surrogateescape") for line in whole)
        if not part:
            break
    if rest:
        yield rest.decode(errors="surrogateescape")


def predict(task: str, lines: Iterable[str | None], which: str = "champion") -> Iterator[str]:
    """Add a prediction to each line, in batches as they come; StepError names a bad line."""
    from pipelines import registry
    from pipelines.chosen import chosen
    from steps.transfer.checkpoints import load_predictor

    predictor = load_predictor(registry.files(chosen(task, which))[0])
    for batch in batches(lines, predictor.type.INPUTS):
        said_of = predictor.predict([item for _, item in batch])
        for (number, item), said in zip(batch, said_of, strict=True):
            yield json.dumps(merge(number, item, said), ensure_ascii=False)


def batches(
    lines: Iterable[str | None], fields: Sequence[str] = ("text",)
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Parse the lines and give them 32 at once, numbered; what comes before a bad line, or before
    a pause (None), comes first.
    """
    batch: list[tuple[int, dict[str, Any]]] = []
    number = 0
    for line in lines:
        if line is None:
            if batch:
                yield batch
            batch = []
            continue
        number += 1
        try:
            batch.append((number, parse(number, line, fields)))
        except StepError:
            yield batch
            raise
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def parse(number: int, line: str, fields: Sequence[str] = ("text",)) -> dict[str, Any]:
    """Read one line; StepError where it is not an object with what the task reads."""
    try:
        line.encode()  # bytes that are no UTF-8 came as halves of characters
        item = json.loads(line)
    except (json.JSONDecodeError, UnicodeEncodeError):
        item = None
    if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in fields):
        shown = line.strip()[:60]
        expected = ", ".join(f'"{name}": "..."' for name in fields)
        raise StepError(f"line {number} is {shown!r}; expected an object such as {{{expected}}}")
    return item


def merge(number: int, item: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Put a prediction beside a line's own fields; StepError rather than overwrite one."""
    if taken := sorted(item.keys() & said.keys()):
        raise StepError(
            f"line {number} has a field {taken[0]!r}, where the prediction goes; rename that field"
        )
    return item | said
