"""Rows with their predictions as files: parts that are there whole or not at all, and all in one.

A part has a file of rows (JSON lines, or Parquet), one of rejected rows, and last of all one that
tells of it: without that it is not there. JSON lines are what CSV is made of in the end, when it is
known which columns there are.
"""

import csv
import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.batch_input import ENDS, Chunk, Row
from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.readers.archives import SQUEEZED

CHUNK = 1 << 20
LEVEL = 3  # of zstd
SPAN = [("start", pa.int64()), ("end", pa.int64()), ("text", pa.string()), ("label", pa.string())]
SPANS = pa.list_(pa.struct([*SPAN, ("confidence", pa.float64())]))
TYPES = {  # what a prediction is made of, as columns
    "label": pa.string(),
    "labels": pa.list_(pa.string()),
    "score": pa.float64(),
    "confidence": pa.float64(),
    "entities": SPANS,
    "tags": SPANS,
    "answer": pa.string(),
    "start": pa.int64(),
    "translation": pa.string(),
    "summary": pa.string(),
    "continuation": pa.string(),
    "vector": pa.list_(pa.float64()),
}


@dataclass(frozen=True)
class Form:
    """How rows are written: `kind` jsonl, csv or parquet; `end`: how names of files end."""

    kind: str
    end: str
    squeezed: str
    folder: bool


def form(out: str, kind: str) -> Form:
    """Say by its name what is to be written: a file, or a folder of files of that kind."""
    name = out.rstrip("/").rpartition("/")[2]
    squeezed = next((end for end in SQUEEZED if name.lower().endswith(end)), "")
    bare = name[: len(name) - len(squeezed)].lower()
    end = next((end for end in ENDS if bare.endswith(end)), "")
    if out.endswith("/") or ("." not in name):
        return Form(kind, f".{kind}", "", True)
    if not end or (squeezed and ENDS[end] == "parquet"):
        raise StepError(
            f"{out} is to be of no known format; expected a name that ends in {', '.join(ENDS)},"
            " .gz or .zst after those of texts, or a folder's"
        )
    return Form(ENDS[end], end, SQUEEZED.get(squeezed, ""), False)


@dataclass(frozen=True)
class Parts:
    """The parts of one run, in a folder of their own."""

    folder: Path
    form: Form
    prefix: str

    def about(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"

    def rows(self, number: int) -> Path:
        return self.folder / f"{number:06}.rows"

    def rejected(self, number: int) -> Path:
        return self.folder / f"{number:06}.rejected"

    def write(self, number: int, chunk: Chunk, answers: Sequence[Row], classes: list[str]) -> None:
        """Write a part; StepError where a row has a field that a prediction is to have."""
        said = [{f"{self.prefix}{key}": v for key, v in one.items()} for one in answers]
        made = self.rows(number).with_suffix(".new")
        if self.form.kind == "parquet":
            table = self._table(chunk, said, classes)
            names = table.column_names
            pq.write_table(table, made, compression="zstd")
        else:
            names = _write_lines(made, chunk, said)
        made.replace(self.rows(number))
        self.rejected(number).write_text(_lines(chunk.rejected), encoding="utf-8")
        counts = {"rows": len(said), "rejected": len(chunk.rejected), "read": chunk.read}
        write_json(self.about(number), counts | {"columns": names})

    def _table(self, chunk: Chunk, said: list[Row], classes: list[str]) -> pa.Table:
        table = chunk.table
        if table is None:
            names = dict.fromkeys(name for row in chunk.rows for name in row)
            columns = [_column([row.get(name) for row in chunk.rows]) for name in names]
            table = pa.Table.from_arrays(columns, names=list(names))
        for name in dict.fromkeys(name for row in said for name in row):
            if name in table.column_names:
                raise taken(chunk.places[0], name)
            values = [row.get(name) for row in said]
            table = table.append_column(name, pa.array(values, self._type(name, classes)))
        return table

    def _type(self, name: str, classes: list[str]) -> pa.DataType:
        bare = name.removeprefix(self.prefix)
        if bare == "probabilities":
            return pa.struct([(one, pa.float64()) for one in classes])
        return TYPES[bare]


def taken(place: str, name: str) -> StepError:
    """What is said of a field that is there already."""
    return StepError(
        f"{place} has a field {name!r}, where the prediction goes; rename that field, or give"
        " --prefix predicted_"
    )


def _write_lines(path: Path, chunk: Chunk, said: list[Row]) -> list[str]:
    rows = chunk.rows
    names: dict[str, None] = {}
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for place, row, more in zip(chunk.places, rows, said, strict=True):
            if both := sorted(row.keys() & more.keys()):
                raise taken(place, both[0])
            names |= dict.fromkeys([*row, *more])
            out.write(to_json(row | more) + "\n")
    return list(names)


def _lines(rows: Iterable[Row]) -> str:
    return "".join(to_json(row) + "\n" for row in rows)


def to_json(value: Any) -> str:
    """As JSON, in which NaN and infinity are null, and dates and bytes their text."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _column(values: list[Any]) -> pa.Array:
    """A column of what JSON had; where it had several kinds, of texts."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _texts(values)


def _texts(values: list[Any]) -> pa.Array:
    said = [v if v is None or isinstance(v, str) else to_json(v) for v in values]
    return pa.array(said, pa.string())


def cell(value: Any) -> str:
    """A value as CSV has it: a text as it is, nothing as nothing, all else as JSON."""
    return "" if value is None else value if isinstance(value, str) else to_json(value)


def join(parts: Parts, count: int, out: Path) -> None:
    """Put all parts into one file, or into the files of a folder, which are new."""
    numbers = range(count)
    if parts.form.kind == "parquet":
        _join_parquet(parts, numbers, out)
    elif not parts.form.folder:
        _join_lines(parts, numbers, out)
    else:
        for number in numbers:
            _join_lines(parts, [number], out / f"part-{number:06}{parts.form.end}")


def _join_lines(parts: Parts, numbers: Sequence[int], out: Path) -> None:
    with squeezed(out, parts.form.squeezed) as stream:
        if parts.form.kind == "jsonl":
            for number in numbers:
                copy(parts.rows(number), stream)
        else:
            _write_csv(parts, numbers, stream)


def _write_csv(parts: Parts, numbers: Sequence[int], stream: BinaryIO) -> None:
    names: dict[str, None] = {}
    for number in numbers:
        names |= dict.fromkeys(read_json(parts.about(number))["columns"])
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    tab = "\t" if parts.form.end == ".tsv" else ","
    writer = csv.writer(text, delimiter=tab, lineterminator="\n")
    if names:
        writer.writerow(names)
    for number in numbers:
        with parts.rows(number).open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                row = json.loads(line)
                writer.writerow([cell(row.get(name)) for name in names])
    text.detach()


def _join_parquet(parts: Parts, numbers: Sequence[int], out: Path) -> None:
    schema = _schema([pq.read_schema(parts.rows(number)) for number in numbers])
    if parts.form.folder:
        for number in numbers:
            table = _cast(pq.read_table(parts.rows(number)), schema)
            pq.write_table(table, out / f"part-{number:06}.parquet", compression="zstd")
        return
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for number in numbers:
            writer.write_table(_cast(pq.read_table(parts.rows(number)), schema))


def _schema(found: list[pa.Schema]) -> pa.Schema:
    """One schema for all parts; a column of types that have none in common is one of texts."""
    fields: dict[str, pa.DataType] = {}
    for one in found:
        for field in one:
            fields[field.name] = _shared(fields.get(field.name, field.type), field.type)
    metadata = found[0].metadata if found else None
    return pa.schema(list(fields.items()), metadata=metadata)


def _shared(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a == b:
        return a
    one = [pa.schema([("", kind)]) for kind in (a, b)]
    try:
        found = pa.unify_schemas(one, promote_options="permissive").field(0).type
        for kind in (a, b):
            pa.nulls(1, kind).cast(found)  # which it cannot do of all that it finds
        return found
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.string()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        as_texts = pa.types.is_string(field.type) and column.type != field.type
        columns.append(_texts(column.to_pylist()) if as_texts else column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


@contextmanager
def squeezed(path: Path, how: str) -> Iterator[BinaryIO]:
    """Open a new file; what is written is compressed, to the same bytes each time."""
    with path.open("wb") as raw:
        if how == "gzip":
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        elif how == "zstd":
            import zstandard

            with zstandard.ZstdCompressor(LEVEL).stream_writer(raw, closefd=False) as stream:
                yield cast(BinaryIO, stream)
        else:
            yield raw


def copy(path: Path, stream: BinaryIO) -> None:
    with path.open("rb") as part:
        while chunk := part.read(CHUNK):
            stream.write(chunk)
