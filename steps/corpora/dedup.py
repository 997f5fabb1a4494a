"""Duplicates among shards of records, found by Daft in memory that does not grow with the corpus.

Exact: the same key. Near: MinHash signatures cut into bands (locality-sensitive hashing) give the
candidates, the true Jaccard similarity of their word shingles decides, and what is connected is one
document. Of copies the first in reading order stays. Broder 1997, "On the resemblance and
containment of documents"; Leskovec et al., "Mining of Massive Datasets", chapter 3.4.

The shards have `at` (int64, rising), `high` and `low` (uint64: 128 bits of the record's key),
`text`, and `spaced` (it with blanks between the signs of a script that has none, else null).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from steps.corpora.similarity import WORDS, alike, components

HASHES = 60
SEED = 1
RECALL = 0.97  # of the pairs at the threshold that share a band
NEIGHBOURS = 8  # of a document in its bucket; more would be quadratic in boilerplate
ROWS = 500_000  # keys grouped at a time

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Copies(NamedTuple):
    """`at` of the records that go, rising; for each the one that stays, and if it is near."""

    at: Numbers
    first: Numbers
    near: np.ndarray[Any, np.dtype[np.bool_]]


def find(folder: Path, rows: int, threshold: float, scratch: Path) -> Copies:
    """Find the copies among the `rows` records of the shards below `folder`; at 1 none are near."""
    at, first = exact(folder, rows)
    if threshold == 1:
        return Copies(at, first, np.zeros(len(at), bool))
    scratch.mkdir()
    near_at, near_first = near(folder, at, threshold, scratch)
    first = _follow(first, near_at, near_first)
    order = np.argsort(np.concatenate([at, near_at]), kind="stable")
    kind = np.repeat([False, True], [len(at), len(near_at)])
    firsts = np.concatenate([first, near_first])
    return Copies(np.concatenate([at, near_at])[order], firsts[order], kind[order])


def _follow(first: Numbers, near_at: Numbers, near_first: Numbers) -> Numbers:
    """A copy of what is itself a near copy points at what stays."""
    if not len(near_at):
        return first
    place = np.searchsorted(near_at, first).clip(max=len(near_at) - 1)
    return np.where(near_at[place] == first, near_first[place], first)


def exact(folder: Path, rows: int) -> tuple[Numbers, Numbers]:
    """Return `at` of each later record with a key seen before, and of the first that had it."""
    from daft import col

    found = []
    for part in _parts(_shards(folder, "at", "high", "low"), "low", rows):
        groups = part.groupby("high", "low").agg(col("at").list_agg())
        at, bucket = _buckets(groups)
        starts = np.flatnonzero(np.diff(bucket, prepend=-1))
        later = np.ones(len(at), bool)
        later[starts] = False
        found.append((at[later], at[starts][bucket[later]]))
    return _sorted(found)


def near(folder: Path, gone: Numbers, threshold: float, scratch: Path) -> tuple[Numbers, Numbers]:
    """Return `at` of each near copy, and of the first record that it is connected with."""
    rows = _sign(folder, gone, threshold, scratch / "bands")
    pairs = _candidates(scratch / "bands", rows, bands(threshold))
    same = alike(folder, pairs, threshold, scratch / "texts")
    return components(pairs[same])


def bands(threshold: float) -> int:
    """Choose how many bands the hashes are cut into: the fewest that find RECALL of the pairs."""
    fits = [count for count in range(1, HASHES + 1) if HASHES % count == 0]
    found = (n for n in fits if 1 - (1 - threshold ** (HASHES // n)) ** n >= RECALL)
    return next(found, HASHES)


def _sign(folder: Path, gone: Numbers, threshold: float, out: Path) -> int:
    """Write `at` and a hash of each band of the signature, of all records but those gone."""
    import daft
    from daft import col

    count = bands(threshold)
    rows = HASHES // count
    texts = _shards(folder, "at", "text", "spaced")
    if len(gone):
        texts = texts.join(daft.from_arrow(pa.table({"at": gone})), on="at", how="anti")
    folded = col("spaced").fill_null(col("text")).normalize(lowercase=True, white_space=True)
    signature = folded.minhash(
        num_hashes=HASHES, ngram_size=WORDS, seed=SEED, hash_function="xxhash3_64"
    )
    hashes = [
        col("signature").slice(band * rows, (band + 1) * rows).hash().alias(f"band{band}")
        for band in range(count)
    ]
    signed = texts.select(col("at"), signature.alias("signature")).select(col("at"), *hashes)
    signed.write_parquet(str(out), compression="none")
    return daft.read_parquet(f"{out}/*.parquet").count_rows()


def _candidates(folder: Path, rows: int, count: int) -> Numbers:
    """Pair the records that share a band: (pairs, 2), the lower `at` first, each pair once."""
    from daft import col

    pairs = np.empty((0, 2), np.int64)
    for band in range(count):
        name = f"band{band}"
        for part in _parts(_shards(folder, "at", name), name, rows):
            at, bucket = _buckets(part.groupby(name).agg(col("at").list_agg()))
            pairs = _unique(np.concatenate([pairs, *_neighbours(at, bucket)]))
    return pairs


def _neighbours(at: Numbers, bucket: Numbers) -> Iterator[Numbers]:
    for apart in range(1, NEIGHBOURS + 1):
        same = np.flatnonzero(bucket[apart:] == bucket[:-apart])
        yield np.stack([at[same], at[same + apart]], axis=1)


def _unique(pairs: Numbers) -> Numbers:
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    ordered = pairs[order]
    new = np.ones(len(ordered), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[new]


def _buckets(groups: Any) -> tuple[Numbers, Numbers]:
    """Unfold the groups of several: `at`, and the number of its bucket, both rising."""
    from daft import col

    lists = groups.where(col("at").length() > 1).to_arrow()["at"].combine_chunks()
    at = lists.flatten().to_numpy().astype(np.int64)
    bucket = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
    order = np.lexsort((at, bucket))
    return at[order], bucket[order]


def _parts(frame: Any, key: str, rows: int) -> Iterator[Any]:
    """Cut a frame by its key into parts of about ROWS rows, so that a group is never cut."""
    from daft import col

    count = -(-rows // ROWS) or 1
    for part in range(count):
        yield frame.where(col(key) % count == part) if count > 1 else frame


def _shards(folder: Path, *columns: str) -> Any:
    import daft

    return daft.read_parquet(f"{folder}/**/*.parquet").select(*columns)


def _sorted(found: list[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    at = np.concatenate([part[0] for part in found])
    first = np.concatenate([part[1] for part in found])
    order = np.argsort(at)
    return at[order], first[order]
