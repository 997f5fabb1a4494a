"""What the Parquet files between the stages hold: one schema for each kind of record."""

from collections.abc import Sequence

import pyarrow as pa

from steps.core.examples import KINDS

TEXT = ("id", "source", "group", "text", "language")  # language: "" where none is known
SPAN = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())])
ANSWER = pa.struct([("start", pa.int64()), ("text", pa.string())])
TYPES = {  # of all other columns: strings
    "labels": pa.list_(pa.string()),
    "score": pa.float64(),
    "spans": pa.list_(SPAN),
    "answers": pa.list_(ANSWER),
}
BESIDE = ("pair", "question")  # of these fields: read beside the text, no claim about it


def _schema(*names: str) -> pa.Schema:
    fields = (pa.field(name, TYPES.get(name, pa.string()), nullable=False) for name in names)
    return pa.schema(list(fields))


SCHEMAS = {
    kind: _schema(*TEXT, *(["split"] if columns else []), *columns)  # split: "" where none is said
    for kind, columns in KINDS.items()
}
REJECTED = _schema("id", "source", "group", "text", "place", "reason")
DUPLICATES = _schema("id", "source", "group", "text", "place", "kept", "kind")


def schema_of(kind: str, columns: Sequence[str]) -> pa.Schema:
    """The schema of a kind whose examples have such columns of their users' beside the rest."""
    if not columns:
        return SCHEMAS[kind]
    kept = pa.struct([pa.field(name, pa.string(), nullable=False) for name in columns])
    return SCHEMAS[kind].append(pa.field("columns", kept, nullable=False))
