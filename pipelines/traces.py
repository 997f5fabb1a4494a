"""What is kept with a version so that it can be traced when dvc.lock has moved on.

`stages.json`: the commit, and the entries in dvc.lock of all stages upstream; `files.parquet`: the
hashes of every raw file that was read, so that a withdrawn one is found without DVC's cache.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines import learnt, lineage
from steps.core.entry import StepError
from steps.core.files import read_json, read_rows, write_json, write_rows

STAGES, FILES = "stages.json", "files.parquet"
WANTED = (STAGES, FILES, "comparison.json", "validation.json")  # of a version, to trace it
RAW = Path("data/raw")
KEPT = Path(".outplant/files")  # the hashes of a source, by its own: read once, not once a version
CACHE = Path(".dvc/cache/files/md5")
CHUNK = 1 << 20
PINNED = ("hub", "mlflow", "pypi")  # kinds of sources whose path is a file of pins
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("path", pa.string()),
        ("md5", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
    ]
)
Rows = list[dict[str, Any]]


def write(stages: lineage.Entries, out: Path) -> None:
    """Write both files into the folder `out`; StepError where raw files are not those of the lock.

    A source whose files are neither here nor in DVC's cache is named as unlisted.
    """
    commit, rows, unlisted = lineage.commit(), [], []
    for source in learnt.names(set(stages), "fetch"):
        listed = _files(source, stages[f"fetch@{source}"])
        if listed is None:
            unlisted.append(source)
        rows += [row | {"source": source} for row in listed or []]
    known = {"commit": commit.hash, "dirty": commit.dirty, "stages": stages}
    write_json(out / STAGES, known | {"pins": _pins(stages), "unlisted": unlisted})
    write_rows(out / FILES, rows, SCHEMA)


def _files(source: str, entry: dict[str, Any]) -> Rows | None:
    """List a source's files with their hashes, from the folder or from DVC's cache."""
    path = (RAW / source).as_posix()
    md5 = next(out["md5"] for out in entry["outs"] if out["path"] == path)
    kept = KEPT / f"{md5}.parquet"
    if kept.exists():
        return read_rows(kept)
    if Path(path).is_dir():
        files = {p.relative_to(path).as_posix(): p for p in Path(path).rglob("*") if p.is_file()}
    else:
        listing = _cached(md5)
        cached = read_json(listing) if listing.exists() else []
        files = {item["relpath"]: _cached(item["md5"]) for item in cached}
        if not all(file.exists() for file in [listing, *files.values()]):
            return None
    rows = [_row(name, file) for name, file in sorted(files.items())]
    if lineage.folder_hash([(row["path"], row["md5"]) for row in rows]) != md5:
        raise StepError(
            f"{path} is not what {lineage.LOCK} says; `dvc checkout --force {path}` brings it"
            f" back, `dvc repro fetch@{source}` makes it again"
        )
    write_rows(kept, rows, SCHEMA)
    return rows


def _cached(md5: str) -> Path:
    return CACHE / md5[:2] / md5[2:]


def _row(name: str, file: Path) -> dict[str, Any]:
    md5, sha256 = hashes(file)
    size = file.stat().st_size
    return {"source": "", "path": name, "md5": md5, "sha256": sha256, "size": size}


def hashes(file: Path) -> tuple[str, str]:
    """Return md5 and sha256 of a file, which is read once."""
    md5, sha256 = hashlib.md5(), hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
    return md5.hexdigest(), sha256.hexdigest()


def _pins(stages: lineage.Entries) -> dict[str, list[str]]:
    """The lines of each file that pins a source: distributions by their hash, a hub's commit."""
    found = {}
    for source in learnt.names(set(stages), "fetch"):
        entry = stages[f"fetch@{source}"]
        about = lineage.values(entry).get(f"sources.{source}", {})
        path = Path(about.get("path", ""))
        if about.get("kind") in PINNED and path.is_file():
            whole = path.read_text(encoding="utf-8").replace("\\\n", " ")
            lines = (" ".join(line.split()) for line in whole.splitlines())
            found[source] = [line for line in lines if line and not line.startswith("#")]
    return found


def read(folder: Path) -> dict[str, Any]:
    """Read stages.json."""
    found: dict[str, Any] = json.loads((folder / STAGES).read_text(encoding="utf-8"))
    return found
