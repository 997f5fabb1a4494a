"""Reader `dataset`: a record is a row of a folder that `datasets` wrote by `save_to_disk`.

Its splits are given: the folders' names. What `fetch` brings from the hub itself are Parquet, JSON
or CSV files: for these take the readers `parquet`, `jsonl` and `csv`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from steps.core.files import read_json
from steps.readers import fields
from steps.readers.files import SPLITS, File, split_of
from steps.readers.parquet import class_names, labels_of, records, unreadable

KIND = fields.ALL
SUFFIXES = (".arrow",)


class Options(fields.Fields):
    """What the columns are called."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the rows of one .arrow file; the folder's .json files say labels and split."""
    beside = file.disk.parent if not file.member else Path("/nowhere")
    with file.path() as path:
        try:
            with pa.memory_map(str(path)) as stream, _table(stream) as table:
                options.among(table.schema.names, file)
                names = class_names(table.schema) or labels_of(_said(beside / "dataset_info.json"))
                state = _said(beside / "state.json")
                split = split_of(file.name) or SPLITS.get(str(state.get("_split")), "")
                for record in records(_batches(table), names, file, options):
                    yield {"split": split, **record} if split else record
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, "Arrow", error) from None


def _table(stream: Any) -> Any:
    """Open both forms of Arrow: `datasets` writes streams."""
    if stream.read(6) == b"ARROW1":
        return pa.ipc.open_file(stream)
    stream.seek(0)
    return pa.ipc.open_stream(stream)


def _batches(table: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(table, pa.ipc.RecordBatchFileReader):
        yield from (table.get_batch(at) for at in range(table.num_record_batches))
    else:
        yield from table


def _said(path: Path) -> dict[str, Any]:
    said = read_json(path) if path.is_file() else {}
    return said if isinstance(said, dict) else {}
