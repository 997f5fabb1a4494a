"""Where cleaned records end: kept, or listed as the copy of one that is kept; all are counted."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.core.files import Shards, read_batches
from steps.corpora.dedup import Copies
from steps.corpora.intake import Tally
from steps.corpora.schemas import DUPLICATES, REJECTED

Counts = dict[str, Counter[str]]


class Settlement:
    """Streams the cleaned records to their ends, in reading order; `schema`: of those kept."""

    def __init__(self, cleaned: Path, kind: str, schema: pa.Schema, copies: Copies) -> None:
        self._cleaned, self._kind, self._schema, self._copies = cleaned, kind, schema, copies
        self._firsts = np.unique(copies.first)
        self._seen: Counter[str] = Counter()  # ids of examples
        self._renamed: dict[int, str] = {}  # `at` of the examples that got another id
        self._twins: list[Any] = []
        self.kept: Counter[str] = Counter()
        self.duplicates: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self.masked_records = 0
        self.languages: Counter[str] = Counter()

    def write(self, kept: Path, duplicates: Path) -> None:
        """Write the shards of both ends."""
        ids = self._ids()
        with Shards(kept, self._schema) as good, Shards(duplicates, DUPLICATES) as copies:
            for batch in _all(self._cleaned):
                copy = np.isin(batch["at"].to_numpy(), self._copies.at, assume_unique=True)
                staying = batch.filter(pa.array(~copy))
                good.write(self._keep(staying))
                if copy.any():
                    copies.write(self._copied(batch.filter(pa.array(copy)), ids))

    def conflicts(self) -> int:
        """How many texts are kept more than once: with another label, other spans, ..."""
        twins = np.concatenate([np.empty(0, np.uint64), *self._twins])
        return int((np.unique(twins, return_counts=True)[1] > 1).sum())

    def _keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        _add(self.kept, batch["source"])
        masked = batch["masked"].filter(pc.not_equal(batch["masked"], ""))
        self.masked_records += len(masked)
        for counts in masked.to_pylist():
            self.masked.update(json.loads(counts))
        if self._kind == "documents":
            _add(self.languages, batch["language"])
        else:
            self._twins.append(batch["twin"].to_numpy())
            names = zip(batch["at"].to_pylist(), batch["id"].to_pylist(), strict=True)
            ids = pa.array([self._unique(*name) for name in names], pa.string())
            batch = batch.set_column(batch.schema.get_field_index("id"), "id", ids)
        return _cast(batch, self._schema)

    def _unique(self, at: int, name: str) -> str:
        """The same text with another annotation is another example, with another id."""
        self._seen[name] += 1
        if (before := self._seen[name] - 1) == 0:
            return name
        self._renamed[at] = hashlib.sha256(f"{name} {before}".encode()).hexdigest()[:16]
        return self._renamed[at]

    def _copied(self, batch: pa.RecordBatch, ids: pa.Array) -> pa.RecordBatch:
        _add(self.duplicates, batch["source"])
        place = np.searchsorted(self._copies.at, batch["at"].to_numpy())
        firsts = self._copies.first[place]
        kept = ids.take(pa.array(np.searchsorted(self._firsts, firsts)))
        if self._renamed:
            both = zip(firsts.tolist(), kept.to_pylist(), strict=True)
            kept = pa.array([self._renamed.get(at, name) for at, name in both])
        kinds = np.where(self._copies.near[place], "near", "exact")
        batch = batch.append_column("kept", kept)
        return _cast(batch.append_column("kind", pa.array(kinds.tolist())), DUPLICATES)

    def _ids(self) -> pa.Array:
        """The ids of those that others are copies of, in their order."""
        wanted = pa.array(self._firsts)
        batches = _all(self._cleaned, ["at", "id"])
        found = [batch["id"].filter(pc.is_in(batch["at"], wanted)) for batch in batches]
        return pa.concat_arrays([pa.array([], pa.string()), *found])


def gather(rejected: Path, out: Path) -> None:
    """Write the rejected records of all portions as shards, in reading order."""
    with Shards(out, REJECTED) as shards:
        for batch in _all(rejected):
            shards.write(batch)


def ledger(tallies: list[Tally], ends: Settlement) -> dict[str, Any]:
    """The ledger: each record read is kept, rejected or a duplicate; each was counted apart."""
    read, rejected, reasons = (
        sum((getattr(tally, name) for tally in tallies), Counter())
        for name in ("read", "rejected", "reasons")
    )
    counts = {"read": read, "kept": ends.kept, "rejected": rejected, "duplicates": ends.duplicates}
    if read != ends.kept + rejected + ends.duplicates:
        raise RuntimeError(f"records were lost on the way: {counts}")
    return {
        **{name: count.total() for name, count in counts.items()},
        "reasons": dict(reasons),
        "masked": dict(+ends.masked),
        "masked_records": ends.masked_records,
        "languages": dict(ends.languages),
        "conflicts": ends.conflicts(),
        "sources": {
            source: {name: count[source] for name, count in counts.items()}
            for source in sorted(read)
        },
    }


def _all(folder: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for shard in sorted(folder.rglob("*.parquet")):
        yield from read_batches(shard, columns=columns)


def _add(counts: Counter[str], column: Any) -> None:
    for row in pc.value_counts(column).to_pylist():
        counts[row["values"]] += row["counts"]


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)
