"""Files that are there whole or not at all, in bytes that depend on their content alone."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steps.core.entry import StepError

CLIMBS = re.compile(r"^/|^[A-Za-z]:|(^|/)\.\.(/|$)|[\\\0]")  # or may where `\` parts folders


def climbs(name: str) -> bool:
    """Whether a name from an archive or a store leads out of the folder it is put into."""
    return bool(CLIMBS.search(name))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a new folder beside `path`; on success it replaces `path`, on failure it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    made.chmod(0o755)
    try:
        yield made
        if path.exists():
            shutil.rmtree(path)
        made.rename(path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.write_text(text, encoding="utf-8")
    made.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; StepError where the file is missing or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StepError(f"no file {path}; run `dvc repro` (or `dvc pull`) to make it") from None
    except json.JSONDecodeError as error:
        raise StepError(f"{path} is not JSON ({error}); make it again by `dvc repro`") from None


def write_rows(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as one Parquet file of the given schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a Parquet file, or a folder of them, as a list of dicts."""
    rows: list[dict[str, Any]] = []
    for shard in shards(path):
        rows += pq.read_table(shard).to_pylist()
    return rows


def shards(path: Path) -> list[Path]:
    """List the Parquet files of a folder in order; a file is its own only shard."""
    if not path.exists():
        raise StepError(f"no {path}; run `dvc repro` (or `dvc pull`) to make it")
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def count_rows(path: Path) -> int:
    """Count the rows of a file or folder of Parquet without reading them."""
    return sum(pq.read_metadata(shard).num_rows for shard in shards(path))


def read_batches(
    path: Path, rows: int = 10_000, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Stream a file or folder of Parquet, at most `rows` in memory at a time."""
    for shard in shards(path):
        with pq.ParquetFile(shard) as file:
            yield from file.iter_batches(rows, columns=columns)


class Shards:
    """Writes rows as a folder of Parquet files of a bounded size each: part-00000.parquet, ...

    A folder without rows still gets one empty file, which says what its columns are.
    """

    def __init__(self, folder: Path, schema: pa.Schema, shard_bytes: int = 64 << 20) -> None:
        self.folder, self.schema, self.shard_bytes = folder, schema, shard_bytes
        self.rows = 0
        self._number = self._bytes = 0
        self._file: pq.ParquetWriter | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._number and kind is None:
            self._open()
        self._close()

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append a batch, as one row group; a batch is never cut."""
        if not batch.num_rows:
            return
        file = self._file or self._open()
        file.write(batch)
        self.rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._bytes >= self.shard_bytes:
            self._close()

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        """Append rows given as dicts; what the schema does not name is left out."""
        columns = [pa.array([row.get(one.name) for row in rows], one.type) for one in self.schema]
        self.write(pa.Table.from_arrays(columns, schema=self.schema))

    def _open(self) -> pq.ParquetWriter:
        path = self.folder / f"part-{self._number:05}.parquet"
        self._file = pq.ParquetWriter(path, self.schema, compression="zstd")
        self._number += 1
        self._bytes = 0
        return self._file

    def _close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None


def digest(*paths: Path) -> str:
    """Return the sha256 of the files' names and bytes; folders are walked in sorted order."""
    total = hashlib.sha256()
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            total.update(f"{name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    total.update(chunk)
    return total.hexdigest()
