"""What the Parquet files between the stages hold: one schema for each kind of record."""

import pyarrow as pa

_BASE = [pa.field(name, pa.string(), nullable=False) for name in ("id", "source", "group", "text")]
SPAN = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())])

SCHEMAS = {
    "documents": pa.schema(_BASE),
    "classification": pa.schema([*_BASE, pa.field("label", pa.string(), nullable=False)]),
    "tokens": pa.schema([*_BASE, pa.field("spans", pa.list_(SPAN), nullable=False)]),
}
REJECTED = pa.schema([*_BASE, pa.field("reason", pa.string(), nullable=False)])
DUPLICATES = pa.schema(
    [*_BASE, *(pa.field(name, pa.string(), nullable=False) for name in ("kept", "kind"))]
)
