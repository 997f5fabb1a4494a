"""Reader `parquet`: a record is a row of a .parquet file; `options` name its columns.

A class label of the hub's data sets, a number (or a list of them), is read as its name, which the
schema knows.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steps.core.entry import StepError
from steps.readers import fields
from steps.readers.files import File, place

KIND = fields.ALL
SUFFIXES = (".parquet",)
ROWS = 500  # in memory at a time
Names = dict[str, list[str]]


class Options(fields.Fields):
    """What the columns are called."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the rows; StepError where a column, or the whole file, is not there."""
    with file.path() as path:
        try:
            with pq.ParquetFile(path) as table:
                schema = table.schema_arrow
                columns = options.among(schema.names, file)
                batches = table.iter_batches(ROWS, columns=columns)
                yield from records(batches, class_names(schema), file, options)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, "Parquet", error) from None


def unreadable(file: File, what: str, error: Exception) -> StepError:
    """Say of a file what it is not."""
    said = " ".join(str(error).split())
    return StepError(f"{file.name} is no whole {what} file ({said}); fetch it again, or take it"
                     " out of the source")  # fmt: skip


def records(
    batches: Iterable[pa.RecordBatch], names: Names, file: File, options: fields.Fields
) -> Iterator[dict[str, Any]]:
    """Yield the records of a table's rows, numbered from 1."""
    number = 0
    for batch in batches:
        for row in sound(batch):
            number += 1
            begun = place(file, number)
            if row is None:
                yield begun | {"text": "", "reason": "not_utf8"}
                continue
            for column, labels in names.items():
                row[column] = _class_name(row.get(column), labels)
            yield fields.record(row, begun, options)


def _class_name(found: Any, labels: list[str]) -> Any:
    if isinstance(found, list):
        return [_class_name(one, labels) for one in found]
    if type(found) is not int:
        return found
    return labels[found] if 0 <= found < len(labels) else None


def sound(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | None]:
    """Yield rows as dicts; None for one that holds a string that is none.

    Unchecked, offsets that point out of the file would end the process.
    """
    if _is_sound(batch):
        yield from batch.to_pylist()
        return
    for at in range(batch.num_rows):
        row = batch.slice(at, 1)
        yield row.to_pylist()[0] if _is_sound(row) else None


def _is_sound(batch: pa.RecordBatch) -> bool:
    """Say whether all strings are UTF-8; ArrowInvalid where the batch is broken otherwise."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        return False
    return True


def class_names(schema: pa.Schema) -> Names:
    """Read the names of class labels off a schema that the `datasets` library wrote."""
    raw = (schema.metadata or {}).get(b"huggingface")
    try:
        info = json.loads(raw)["info"] if raw else {}
    except (ValueError, KeyError, TypeError):
        info = {}
    return labels_of(info)


def labels_of(info: Any) -> Names:
    """Find the class labels among the features of a data set's description."""
    features = info.get("features") if isinstance(info, dict) else None
    inner = {name: _inner(feature) for name, feature in (features or {}).items()}
    return {
        name: feature["names"]
        for name, feature in inner.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def _inner(feature: Any) -> Any:
    """Of a list's feature that of its items, as `datasets` writes it now and wrote it before."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return feature.get("feature", feature) if isinstance(feature, dict) else feature
