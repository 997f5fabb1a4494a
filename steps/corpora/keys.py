"""The keys by which records are found to be copies of each other."""

import hashlib
import json
from typing import Any

from steps.corpora.filters import UNSPACED
from steps.corpora.schemas import ANNOTATIONS

Record = dict[str, Any]


def keyed(record: Record, kind: str, at: int) -> Record:
    """Give a record its place, and its keys: exact copies have the same."""
    text = record["text"]
    folded = " ".join(text.casefold().split())
    said = [record[name] for name in ("split", *ANNOTATIONS[kind])] if kind != "documents" else None
    exact = folded if said is None else json.dumps([text, said], sort_keys=True)
    key = hashlib.blake2b(exact.encode("utf-8", "replace"), digest_size=16).digest()
    twin = key if said is None else hashlib.blake2b(folded.encode("utf-8", "replace")).digest()
    return record | {
        "at": at,
        "high": int.from_bytes(key[:8], "big"),
        "low": int.from_bytes(key[8:], "big"),
        "twin": int.from_bytes(twin[:8], "big"),
        "spaced": spaced(text),
    }


def spaced(text: str) -> str | None:
    """Put blanks around the signs of a script without them; None where there are none such."""
    if text.isascii() or not UNSPACED.search(text):
        return None
    return UNSPACED.sub(r" \g<0> ", text)
