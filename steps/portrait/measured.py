"""Figures of a corpus or task for its profile, streamed batch by batch.

What stays in memory are counts: of lengths (their distinct values grow with the square root of the
corpus at most), of languages, labels and splits. A word is what white space separates.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.core.files import count_rows, read_batches, shards

BATCH_ROWS = 1000  # a batch of long documents must fit, too
CLIP = 360  # characters shown of a text
SHOWN = 3  # records shown of a label or reason
MOST_NAMES = 200  # labels or reasons with records shown
QUANTILES = {"p1": 0.01, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
QUANTILES |= {"p99": 0.99}
BINS = 20  # of a histogram of scores
Row = dict[str, Any]


class Few:
    """A few records of each name, from as many sources as there are."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[list[Row], list[Row]]] = {}

    def offer(self, batch: pa.RecordBatch, pairs: Iterator[tuple[int, str]]) -> None:
        """Look through (row, name) pairs of a batch."""
        sources = batch["source"].to_pylist()
        for place, name in pairs:
            if name not in self._found and len(self._found) < MOST_NAMES:
                self._found[name] = [], []
            chosen, spare = self._found.get(name, ([], []))
            if name not in self._found or len(chosen) == SHOWN:
                continue
            if all(row["source"] != sources[place] for row in chosen):
                chosen.append(record(batch, place))
            elif len(spare) < SHOWN:
                spare.append(record(batch, place))

    def get(self) -> dict[str, list[Row]]:
        """Return the records by name."""
        return {name: [*one, *two][:SHOWN] for name, (one, two) in self._found.items()}


@dataclass
class Tally:
    """What is counted while the records pass by."""

    sizes: Counter[str] = field(default_factory=Counter)
    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    scores: list[Any] = field(default_factory=list)  # arrays of 8 bytes a score
    few: Few = field(default_factory=Few)

    def measure(self, what: str, values: Any) -> None:
        """Count whole numbers."""
        found, times = np.unique(np.asarray(values), return_counts=True)
        self.lengths.setdefault(what, Counter()).update(
            dict(zip(found.tolist(), times.tolist(), strict=True))
        )

    def count(self, what: str, values: pa.Array) -> None:
        """Count names."""
        found = {row["values"]: row["counts"] for row in values.value_counts().to_pylist()}
        self.counts.setdefault(what, Counter()).update(found)


def record(batch: pa.RecordBatch, place: int) -> Row:
    """One row of a batch as a dict."""
    row: Row = batch.slice(place, 1).to_pylist()[0]
    return row


def columns(folder: Path) -> list[str]:
    """Names of the columns of a folder of shards."""
    first = shards(folder)[:1]
    return [name for shard in first for name in pq.read_schema(shard).names]


def word_counts(texts: pa.Array) -> Any:
    """Words of each text, as numpy integers."""
    trimmed = pc.utf8_trim_whitespace(texts)
    parts = pc.list_value_length(pc.utf8_split_whitespace(trimmed))
    return pc.if_else(pc.equal(pc.binary_length(trimmed), 0), 0, parts).to_numpy(False)


def measure(folder: Path, aside: Callable[[pa.RecordBatch, Tally], None]) -> Tally:
    """Pass over all records once; `aside` counts more of each batch."""
    tally = Tally()
    for batch in read_batches(folder, BATCH_ROWS):
        _text(batch, tally)
        aside(batch, tally)
    return tally


def figures(tally: Tally, checks: Sequence[str]) -> dict[str, Any]:
    """Bring a tally into the form of profile.json; `checks` names sizes of what is annotated."""
    found: dict[str, Any] = {
        "sizes": {name: tally.sizes[name] for name in ("records", "words", "characters", "bytes")},
        "lengths": {name: lengths(counts) for name, counts in sorted(tally.lengths.items())},
        "languages": known(tally.counts.get("languages", Counter())),
        "splits": known(tally.counts.get("splits", Counter())),
    }
    if "labels" in tally.counts:
        counts = tally.counts["labels"]
        found["labels"] = {"counts": dict(counts), "entropy": entropy(list(counts.values()))}
    if tally.scores:
        found["scores"] = scores(np.concatenate(tally.scores))
    return found | ({"checks": {name: tally.sizes[name] for name in checks}} if checks else {})


def known(counts: Counter[str]) -> dict[str, int]:
    """Counts of a column that may be empty: nothing where it was never filled."""
    return dict(counts) if set(counts) - {""} else {}


def entropy(counts: Sequence[int]) -> float | None:
    """Shannon entropy over its maximum: 1 = all labels alike, 0 = one has all; None below two."""
    total = sum(counts)
    if len(counts) < 2:
        return None
    found = -sum(n / total * math.log(n / total) for n in counts if n)
    return round(found / math.log(len(counts)), 4)


def lengths(counts: Counter[int]) -> dict[str, Any]:
    """Quantiles (the value at that rank), mean, and a histogram of bins sqrt(2) apart."""
    total = counts.total()
    if not total:
        return {}
    values = sorted(counts)
    ranks = np.cumsum([counts[value] for value in values])
    places = {name: np.searchsorted(ranks, q * total) for name, q in QUANTILES.items()}
    mean = sum(value * n for value, n in counts.items()) / total
    return {
        "min": values[0],
        **{name: values[place] for name, place in places.items()},
        "max": values[-1],
        "mean": round(mean, 2),
        "histogram": _histogram(counts, values[-1]),
    }


def scores(values: Any) -> dict[str, Any]:
    """Quantiles (the value at that rank), mean, deviation, and a histogram of equal bins."""
    if not len(values):
        return {}
    ordered = np.sort(values)
    places = {name: math.ceil(q * len(ordered)) - 1 for name, q in QUANTILES.items()}
    low, high = float(ordered[0]), float(ordered[-1])
    scale = max(-low, high, sys.float_info.min)  # squares of the largest are beyond all floats
    return {
        "min": low,
        **{name: float(ordered[place]) for name, place in places.items()},
        "max": high,
        "mean": float((ordered / scale).mean()) * scale,
        "deviation": float((ordered / scale).std()) * scale,
        "histogram": _equal_bins(ordered, high - low, scale),
    }


def _equal_bins(ordered: Any, width: float, scale: float) -> list[list[float]]:
    """Rows of [from, to, how many]; one, where the scores are as good as the same."""
    if not scale * 1e-9 < width < math.inf:
        return [[float(ordered[0]), float(ordered[-1]), len(ordered)]]
    bins, edges = np.histogram(ordered, BINS)
    rows = zip(edges[:-1].tolist(), edges[1:].tolist(), bins.tolist(), strict=True)
    return [list(row) for row in rows]


def _histogram(counts: Counter[int], most: int) -> list[list[int]]:
    """Rows of [from, up to but without, how many]."""
    powers = range(2 * max(most, 1).bit_length() + 1)
    edges = sorted({0, *(round(2 ** (power / 2)) for power in powers), most + 1})
    edges = [edge for edge in edges if edge <= most + 1]
    bins, _ = np.histogram(list(counts), edges, weights=list(counts.values()))
    pairs = zip(edges, edges[1:], bins.astype(int).tolist(), strict=False)
    return [[low, high, number] for low, high, number in pairs]


def evenly(folder: Path, most: int) -> Iterator[Row]:
    """At most so many rows, at even distances; the same ones each time."""
    total = count_rows(folder)
    number = min(most, total)
    wanted = np.arange(number) * total // max(number, 1)
    start = 0
    for batch in read_batches(folder, BATCH_ROWS):
        low, high = np.searchsorted(wanted, (start, start + batch.num_rows))
        yield from batch.take(pa.array(wanted[low:high] - start)).to_pylist()
        start += batch.num_rows


def drawn(folder: Path, most: int) -> list[Row]:
    """Some rows at even distances, from as many sources as there are."""
    rows = list(evenly(folder, most * 20))
    firsts = {row["source"]: place for place, row in reversed(list(enumerate(rows)))}
    order = [*sorted(firsts.values()), *(set(range(len(rows))) - set(firsts.values()))]
    return [rows[place] for place in order[:most]]


def _text(batch: pa.RecordBatch, tally: Tally) -> None:
    texts = batch["text"]
    words = word_counts(texts)
    tally.measure("text", words)
    tally.sizes["records"] += batch.num_rows
    tally.sizes["words"] += int(words.sum())
    tally.sizes["characters"] += pc.sum(pc.utf8_length(texts)).as_py() or 0
    tally.sizes["bytes"] += pc.sum(pc.binary_length(texts)).as_py() or 0
    for column, what in (("language", "languages"), ("split", "splits")):
        if column in batch.schema.names:
            tally.count(what, batch[column])
