"""Anyone's references and predictions, read for `outplant compare`: JSON lines, CSV, TSV, Parquet.

A row has an `id`, or stands for the row of its number; references have what examples of the
metric's task type have (label, labels, score, spans, answers, target), predictions the same, or
`prediction`, or what `outplant predict` writes.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from steps.core.entry import StepError
from steps.judge.metrics import Metric
from steps.judge.values import REFERENCES, Value
from steps.readers import fields, files

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
Row = dict[str, Any]
OWN = {  # task type -> the field of a reference
    "classification": "label",
    "sentiment": "label",
    "pairs": "label",
    "multilabel": "labels",
    "regression": "score",
    "tokens": "spans",
    "tags": "spans",
    "question_answering": "answers",
    "translation": "target",
    "summarisation": "target",
    "generation": "target",
    "retrieval": "target",
}
SAID = {  # where a prediction of a task type may also be, beside `prediction` and the field above
    "tokens": ("entities",),
    "tags": ("tags",),
    "question_answering": ("answer",),
    "translation": ("translation",),
    "summarisation": ("summary",),
    "generation": ("generation", "text"),
    "retrieval": ("rank",),
}


@dataclass(frozen=True)
class Side:
    """One candidate: the files that are its seeds, and their values in the references' order."""

    name: str
    files: list[str]
    values: list[list[Value]]


@dataclass(frozen=True)
class Truth:
    """References as they were read; `ids` are their rows' numbers where they have none."""

    path: Path
    kind: str
    ids: list[str]
    rows: list[Row]
    values: list[Value]
    numbered: bool


def read_truth(path: Path, metric: Metric) -> Truth:
    """Read references; StepError where none is what the metric takes."""
    rows = list(_rows(path))
    if not rows:
        raise StepError(f"{path} has no rows; expected one reference a row")
    kinds = [kind for kind in metric.types if OWN[kind] in rows[0] or kind == "retrieval"]
    if not kinds:
        expected = " or ".join(dict.fromkeys(repr(OWN[kind]) for kind in metric.types))
        there = ", ".join(rows[0])
        raise StepError(f"{path} has no field {expected} for {metric.name}; it has: {there}")
    numbered = "id" not in rows[0]
    ids = _ids(path, rows, numbered)
    found = [_reference(path, at, row, kinds[0]) for at, row in enumerate(rows, 1)]
    return Truth(path, kinds[0], ids, rows, found, numbered)


def read_side(said: str, truth: Truth) -> Side:
    """Read one side: a file, a folder or pattern of them, or several parted by commas, one a seed.

    StepError names items that are missing or of another set.
    """
    paths = _paths(said)
    return Side(said, [path.name for path in paths], [_aligned(path, truth) for path in paths])


def _paths(said: str) -> list[Path]:
    found: list[Path] = []
    for part in (Path(name.strip()) for name in said.split(",")):
        inside = sorted(Path(name) for name in glob(str(part / "*" if part.is_dir() else part)))
        fitting = [path for path in inside if path.suffix.lower() in SUFFIXES]
        if not fitting:
            what = f"ends in {' '.join(SUFFIXES)}"
            raise StepError(f"no file of predictions at {part}; expected one whose name {what}")
        found += fitting
    return found


def _aligned(path: Path, truth: Truth) -> list[Value]:
    rows = list(_rows(path))
    name = _field(path, rows, truth.kind)
    ids = _ids(path, rows, truth.numbered)
    if sorted(ids) != sorted(truth.ids):
        raise StepError(_other_items(path, truth, ids))
    by_id = dict(zip(ids, enumerate(rows, 1), strict=True))
    return [_prediction(path, *by_id[one], name, truth.kind) for one in truth.ids]


def _other_items(path: Path, truth: Truth, ids: Sequence[str]) -> str:
    if truth.numbered:
        return (
            f"{path} has {len(ids)} rows and {truth.path} {len(truth.ids)}; "
            "give each row an `id`, or the same rows in the same order"
        )
    lacking, foreign = sorted({*truth.ids} - {*ids}), sorted({*ids} - {*truth.ids})
    return (
        f"{path}: {len(lacking)} of {len(truth.ids)} items of {truth.path} lack a prediction, "
        f"{len(foreign)} predictions are of other items (such as {(lacking or foreign)[0]}); "
        "predict the same items"
    )


def _field(path: Path, rows: list[Row], kind: str) -> str:
    wanted = ("prediction", *SAID.get(kind, ()), OWN[kind])
    found = [name for name in wanted if rows and name in rows[0]]
    if not found:
        there = ", ".join(rows[0]) if rows else "no rows"
        expected = ", ".join(map(repr, wanted))
        raise StepError(f"{path} has no prediction of {kind}: expected {expected}, found {there}")
    return found[0]


def _ids(path: Path, rows: list[Row], numbered: bool) -> list[str]:
    if numbered:
        return [str(at) for at in range(1, len(rows) + 1)]
    ids: dict[str, int] = {}
    for at, row in enumerate(rows, 1):
        if row.get("id") in (None, ""):
            raise StepError(f"{path}, row {at} has no `id`; the references have one each")
        if first := ids.setdefault(str(row["id"]), at) - at:
            raise StepError(f"{path}: id {row['id']!r} is of rows {at + first} and {at}")
    return list(ids)


def _reference(path: Path, at: int, row: Row, kind: str) -> Value:
    return "" if kind == "retrieval" else _value(path, at, row, kind, OWN[kind])


def _prediction(path: Path, at: int, row: Row, name: str, kind: str) -> Value:
    if name not in row:
        raise _wrong(path, at, row, name, f"what the rows before it have as {name!r}")
    if kind == "question_answering":
        return str(row[name] if row[name] is not None else "")
    if kind == "generation":
        said = row[name] if isinstance(row[name], dict) else row | {"text": str(row[name])}
        return {"text": str(said.get("text", ""))} | _loss(path, at, said)
    if kind == "retrieval":
        rank = str(row[name])
        if not rank.isdigit() or int(rank) < 1:
            raise _wrong(path, at, row, name, "a rank, 1 for the first")
        return int(rank)
    return _value(path, at, row, kind, name)


def _loss(path: Path, at: int, row: Row) -> dict[str, float]:
    """What perplexity is made of, where it is there: the sum of losses, and of how many words."""
    try:
        return {name: float(row[name]) for name in ("loss", "words") if row.get(name) is not None}
    except (TypeError, ValueError):
        raise _wrong(path, at, row, "loss", "a number, as `words` beside it") from None


def _value(path: Path, at: int, row: Row, kind: str, name: str) -> Value:
    """Read one as the readers do."""
    key = OWN[kind]
    made = fields.record(row | {"text": ""}, {}, fields.Fields.model_validate({key: name}))
    if key not in made or "reason" in made:
        expected = {"label": "a label", "target": "a text", "score": "a number"}.get(key, key)
        raise _wrong(path, at, row, name, expected)
    return REFERENCES[kind](made)


def _wrong(path: Path, at: int, row: Row, name: str, expected: str) -> StepError:
    shown = repr(row.get(name))[:60]
    return StepError(f"{path}, row {at}: {name} is {shown}; expected {expected}")


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path)
        return
    (file,) = files.files(path, ())
    if path.suffix.lower() in (".csv", ".tsv"):
        tab = "\t" if path.suffix.lower() == ".tsv" else ","
        yield from csv.DictReader((f"{line.text}\n" for line in files.lines(file)), delimiter=tab)
        return
    for line in files.lines(file):
        if line.text.strip() or line.reason:
            yield _object(path, line)


def _object(path: Path, line: files.Line) -> Row:
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError):
        row = None
    if line.reason or not isinstance(row, dict):
        shown = line.reason or line.text.strip()[:60]
        raise StepError(f"{path}, line {line.number} is {shown!r}; expected a JSON object")
    return row


def _parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise StepError(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from None
    return rows
