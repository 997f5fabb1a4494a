"""The keys by which records are found to be copies of each other."""

import hashlib
import json
from typing import Any

from steps.core.examples import KINDS
from steps.corpora.filters import UNSPACED
from steps.corpora.schemas import BESIDE

Record = dict[str, Any]


def keyed(record: Record, kind: str, at: int) -> Record:
    """Give a record its place, and its keys: exact copies have the same.

    `twin` is the same where the same is asked: of the text, with the pair or question beside it,
    in one language.
    """
    text, names = record["text"], KINDS[kind]
    key = twin = _hash(_folded(text))
    if kind != "documents":
        said = [record[name] for name in ("split", "language", *names)]
        key = _hash(json.dumps([text, said], sort_keys=True))
        beside = [_folded(record[name]) for name in BESIDE if name in names]
        twin = _hash("\0".join([_folded(text), record["language"], *beside]))
    return record | {
        "at": at,
        "high": int.from_bytes(key[:8], "big"),
        "low": int.from_bytes(key[8:], "big"),
        "twin": int.from_bytes(twin[:8], "big"),
        "spaced": spaced(text),
    }


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def spaced(text: str) -> str | None:
    """Put blanks around the signs of a script without them; None where there are none such."""
    if text.isascii() or not UNSPACED.search(text):
        return None
    return UNSPACED.sub(r" \g<0> ", text)
