"""What the Parquet files between the stages hold: one schema for each kind of record."""

import pyarrow as pa


def _fields(*names: str) -> list[pa.Field]:
    return [pa.field(name, pa.string(), nullable=False) for name in names]


_BASE = _fields("id", "source", "group", "text")
_EXAMPLE = [*_BASE, *_fields("split")]  # "" where the source does not say
SPAN = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())])
ANSWER = pa.struct([("start", pa.int64()), ("text", pa.string())])

SCHEMAS = {
    "documents": pa.schema([*_BASE, *_fields("language")]),
    "classification": pa.schema([*_EXAMPLE, *_fields("label")]),
    "tokens": pa.schema([*_EXAMPLE, pa.field("spans", pa.list_(SPAN), nullable=False)]),
    "question_answering": pa.schema(
        [*_EXAMPLE, *_fields("question"), pa.field("answers", pa.list_(ANSWER), nullable=False)]
    ),
    "translation": pa.schema([*_EXAMPLE, *_fields("target")]),
}
ANNOTATIONS = {  # what an example says of its text: with the text it makes an exact duplicate
    "documents": (),
    "classification": ("label",),
    "tokens": ("spans",),
    "question_answering": ("question", "answers"),
    "translation": ("target",),
}
REJECTED = pa.schema([*_BASE, *_fields("place", "reason")])
DUPLICATES = pa.schema([*_BASE, *_fields("place", "kept", "kind")])
