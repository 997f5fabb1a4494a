"""Records of a portion of the files -> shards of cleaned records and of rejected ones, counted.

A portion is work for one process; what comes of it depends on its files alone, not on how many
processes there are.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from steps.core.files import Shards
from steps.corpora import cleaning
from steps.corpora.annotations import against, normalised
from steps.corpora.keys import keyed, spaced
from steps.corpora.schemas import REJECTED

Record = dict[str, Any]
Read = Callable[[Any], Iterable[Record]]
BATCH = 4 << 20  # characters cleaned at a time
MOST = 2_000  # records cleaned at a time
WORK = pa.schema(  # beside a record, until its duplicates are taken out
    [
        *(("at", pa.int64()), ("high", pa.uint64()), ("low", pa.uint64()), ("twin", pa.uint64())),
        *((name, pa.string()) for name in ("spaced", "place", "masked")),
    ]
)


class Portion(NamedTuple):
    """A number and what `read` takes: some files of a source."""

    number: int
    files: Any


class Tally(NamedTuple):
    """What became of the records of a portion, by source, and why."""

    read: Counter[str]
    cleaned: Counter[str]
    rejected: Counter[str]
    reasons: Counter[str]


class Intake(NamedTuple):
    """Work for a process: reads, cleans and writes portions below `cleaned` and `rejected`.

    `schema`: what is kept of a record of its kind.
    """

    read: Read
    kind: str
    schema: pa.Schema
    rules: cleaning.Rules
    cleaned: Path
    rejected: Path

    def __call__(self, portion: Portion) -> Tally:
        found = Tally(Counter(), Counter(), Counter(), Counter())
        name, numbers = f"{portion.number:06}", count(portion.number << 32)
        with (
            Shards(self.cleaned / name, pa.schema([*self.schema, *WORK])) as good,
            Shards(self.rejected / name, REJECTED) as bad,
        ):
            for records in _batches(self.read(portion.files), found.read):
                done = [_named(record) for record in self.clean(records)]
                kept = [record for record in done if not record["reason"]]
                good.write_rows([keyed(record, self.kind, next(numbers)) for record in kept])
                found.cleaned.update(record["source"] for record in kept)
                rejected = [record for record in done if record["reason"]]
                bad.write_rows(rejected)
                found.rejected.update(record["source"] for record in rejected)
                found.reasons.update(record["reason"] for record in rejected)
        return found

    def clean(self, records: list[Record]) -> list[Record]:
        """Return the records cleaned, each with its reason to go, or none."""
        if self.kind == "documents":
            return self._clean_documents(records)
        return [self._clean_example(record) for record in records]

    def _clean_documents(self, records: list[Record]) -> list[Record]:
        done = cleaning.clean([record["text"] for record in records], self.rules)
        return [
            record
            | {
                "text": one.text,
                "reason": record.get("reason") or one.reason,
                "language": one.language,
                "masked": json.dumps(one.masked) if any(one.masked.values()) else "",
            }
            for record, one in zip(records, done, strict=True)
        ]

    def _clean_example(self, record: Record) -> Record:
        """An annotation holds for its very text: that is normalised, and else left as it is."""
        reason = record.get("reason") or against(record, self.kind)
        if not reason:
            record = normalised(record, self.kind)
            reason = self._against_length(record["text"])
        given = {name: record.get(name) or "" for name in ("split", "language")}
        return record | given | {"reason": reason, "masked": ""}

    def _against_length(self, text: str) -> str:
        words = len((spaced(text) or text).split())
        if words < self.rules.min_words or not words:
            return "too_short"
        return "too_long" if words > self.rules.max_words else ""


def _batches(records: Iterable[Record], read: Counter[str]) -> Iterator[list[Record]]:
    """Gather records, so many that work is worth while and so few that memory is bounded."""
    batch: list[Record] = []
    size = 0
    for record in records:
        read[record["source"]] += 1
        batch.append(record)
        size += len(record["text"])
        if size >= BATCH or len(batch) >= MOST:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _named(record: Record) -> Record:
    """Give a record its id: a digest of what it is."""
    named = json.dumps([record["source"], record["group"], record["text"], 0], ensure_ascii=False)
    return record | {"id": hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()[:16]}
