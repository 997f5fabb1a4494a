"""Files of rows to predict, of any size: read in chunks, each row with its place, or a reason."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from steps.core.entry import StepError
from steps.core.params import Task
from steps.readers import files, jsonl, options, parquet, table
from steps.readers.fields import Fields, reach
from steps.readers.files import SHOWN, File
from steps.tasks import task_type

ROWS = 2048  # of a chunk at most: what is predicted, and written, at once
CHARACTERS = 4 << 20  # of a chunk, from which no more is put into it
ENDS = dict.fromkeys(jsonl.SUFFIXES, "jsonl") | dict.fromkeys(table.SUFFIXES, "csv")
ENDS |= dict.fromkeys(parquet.SUFFIXES, "parquet")
Row = dict[str, Any]


class Record(NamedTuple):
    """A row, or why there is none; `number`: of its last line, `size`: its characters."""

    place: str
    row: Row | None
    reason: str
    shown: str
    number: int
    size: int


@dataclass
class Chunk:
    """Rows that lie one after another in a file.

    items: what the task reads of each row that can be predicted, and `rows`: all that each has, or
    `table` of those of Parquet, whose columns stay of their types. rejected: the others. read: how
    many lines or rows of the file it takes.
    """

    places: list[str] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    table: pa.Table | None = None
    rejected: list[Row] = field(default_factory=list)
    read: int = 0


@dataclass(frozen=True)
class Source:
    """Files of one format; `fields`: what the task reads -> the columns that may have it."""

    files: list[File]
    format: str
    fields: Mapping[str, tuple[str, ...]]
    table: table.Options

    def count(self) -> int:
        """How many rows there are: lines of texts, a header and blank ones among them."""
        return sum(_count(file, self.format) for file in self.files)

    def chunks(self) -> Iterator[Chunk]:
        """Give all rows, a chunk's in memory at a time; StepError where a file is no such."""
        for file in self.files:
            if self.format == "parquet":
                yield from self._of_parquet(file)
            else:
                yield from self._of_lines(file)

    def _of_lines(self, file: File) -> Iterator[Chunk]:
        chunk, size, before, number = Chunk(), 0, 0, 0
        records = _objects(file) if self.format == "jsonl" else _cells(file, self.table)
        for record in records:
            number = record.number
            _add(chunk, record, self.fields)
            size += record.size
            if len(chunk.items) + len(chunk.rejected) == ROWS or size >= CHARACTERS:
                chunk.read, before = number - before, number
                yield chunk
                chunk, size = Chunk(), 0
        chunk.read = number - before
        if chunk.read:
            yield chunk

    def _of_parquet(self, file: File) -> Iterator[Chunk]:
        with file.path() as path:
            try:
                with pq.ParquetFile(path) as read:
                    number = 0
                    for batch in read.iter_batches(ROWS):
                        yield self._of_batch(file, batch, number)
                        number += batch.num_rows
                    if not number:
                        yield Chunk(table=read.schema_arrow.empty_table())
            except (pa.ArrowException, OSError) as error:
                raise parquet.unreadable(file, "Parquet", error) from None

    def _of_batch(self, file: File, batch: pa.RecordBatch, before: int) -> Chunk:
        chunk, kept = Chunk(read=batch.num_rows), []
        for at, row in enumerate(parquet.sound(batch)):
            place = f"{file.name}:{before + at + 1}"
            reason = "" if row is not None else "not_utf8"
            record = Record(place, row, reason, _shown(row), 0, 0)
            if _add(chunk, record, self.fields):
                kept.append(at)
        chunk.table = pa.Table.from_batches([batch]).take(pa.array(kept, pa.int64()))
        return chunk


def source(path: Path, task: Task) -> Source:
    """Find the files of rows; StepError where there are none, or of several formats."""
    found = [file for file in files.files(path, ()) if _format(file)]
    formats = sorted({_format(file) for file in found})
    if len(formats) != 1:
        there = f"files of {' and '.join(formats)}" if formats else "no such file"
        raise StepError(
            f"{path} has {there}; expected rows as {', '.join(ENDS)}, which may end in .gz or .zst"
        )
    known = options(task.reader, task.options, "options")
    named = known if isinstance(known, Fields) else Fields()
    fields = {name: (getattr(named, name), name) for name in task_type(task.type).INPUTS}
    cells = known if isinstance(known, table.Options) else options("table", {}, "options")
    return Source(found, formats[0], fields, cast(table.Options, cells))


def _format(file: File) -> str:
    return next((kind for end, kind in ENDS.items() if file.name.lower().endswith(end)), "")


def _count(file: File, kind: str) -> int:
    if kind == "parquet":
        with file.path() as path:
            try:
                return int(pq.read_metadata(path).num_rows)
            except (pa.ArrowException, OSError) as error:
                raise parquet.unreadable(file, "Parquet", error) from None
    return sum(1 for _ in files.lines(file))


def _objects(file: File) -> Iterator[Record]:
    for line in files.lines(file):
        if line.reason or line.text.strip():
            found = line.reason or _object(line.text)
            row, reason = (None, found) if isinstance(found, str) else (found, "")
            place = f"{file.name}:{line.number}"
            yield Record(place, row, reason, line.text[:SHOWN], line.number, len(line.text))


def _object(text: str) -> Row | str:
    """A line's object, or why it is none."""
    try:
        row = jsonl.JSON.decode(text.strip())
    except jsonl.Duplicated:
        return "duplicated_key"
    except (ValueError, RecursionError):
        return "not_json"
    if not isinstance(row, dict):
        return "not_an_object"
    if "\\u" in text:  # half of a character, which no file of text can hold
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "half_a_character"
    return row


def _cells(file: File, settings: table.Options) -> Iterator[Record]:
    columns: list[str] = []
    for number, cells, shown, reason in table.rows(file, settings):
        if not columns:
            columns = cells if settings.header else [str(at + 1) for at in range(len(cells))]
            if reason or len(set(columns)) < len(columns):
                raise StepError(
                    f"{file.name}: its first line is {reason or 'one of columns named twice'};"
                    " mend it"
                )
            if settings.header:
                continue
        wrong = reason or ("wrong_columns" if len(cells) != len(columns) else "")
        row = None if wrong else dict(zip(columns, cells, strict=True))
        yield Record(f"{file.name}:{number}", row, wrong, shown, number, sum(map(len, cells)))


def _add(chunk: Chunk, record: Record, fields: Mapping[str, tuple[str, ...]]) -> bool:
    """Put a row where it belongs; say whether it can be predicted."""
    found = record.reason or _item(record.row or {}, fields)
    if isinstance(found, str):
        said = {"place": record.place, "reason": found, "text": record.shown}
        chunk.rejected.append(said)
        return False
    chunk.places.append(record.place)
    chunk.items.append(found)
    chunk.rows.append(record.row or {})
    return True


def _item(row: Row, fields: Mapping[str, tuple[str, ...]]) -> Row | str:
    """What the task reads of a row, or why it cannot."""
    item: Row = {}
    for name, columns in fields.items():
        values = (reach(row, column) for column in columns)
        value = next((value for value in values if value is not None), None)
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"no_{name}"
        if not isinstance(value, str):
            return f"{name}_is_{type(value).__name__}"
        item[name] = value
    return item


def _shown(row: Row | None) -> str:
    return json.dumps(row, default=str, ensure_ascii=False)[:SHOWN] if row else ""
