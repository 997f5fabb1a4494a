"""The true similarity of pairs of texts, and what is connected by it.

The texts of the candidates are laid down in one file and read back pair by pair, so that only a few
are ever in memory.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.core.files import read_batches
from steps.corpora.engine import in_processes

WORDS = 5  # of a shingle
PAIRS = 4_000  # compared in one piece of work

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """The runs of WORDS words without case; a shorter text is one run."""
    words = text.lower().split()
    if len(words) < WORDS:
        return frozenset([tuple(words)])
    return frozenset(zip(*(words[start:] for start in range(WORDS)), strict=False))


class Compare(NamedTuple):
    """Work for a process: which of the pairs are alike; a pair is two (start, size) in the file."""

    texts: str
    threshold: float

    def __call__(self, pairs: Numbers) -> bytes:
        file = os.open(self.texts, os.O_RDONLY)
        try:
            seen = lru_cache(maxsize=64)(
                lambda at, size: shingles(os.pread(file, size, at).decode())
            )
            return bytes(self._same(seen(*one), seen(*other)) for one, other in pairs.tolist())
        finally:
            os.close(file)

    def _same(self, one: frozenset[Any], other: frozenset[Any]) -> bool:
        shared = len(one & other)
        return shared >= self.threshold * (len(one) + len(other) - shared)


def alike(folder: Path, pairs: Numbers, threshold: float, texts: Path) -> Any:
    """Say for each pair of `at` (pairs, 2) if its texts are alike; `texts` is a file to be made."""
    wanted = np.unique(pairs)
    edges = _lay_down(folder, wanted, texts)
    places = np.searchsorted(wanted, pairs)
    spans = np.stack([edges[places], edges[places + 1] - edges[places]], axis=2)
    pieces = [spans[start : start + PAIRS] for start in range(0, len(spans), PAIRS)]
    found = b"".join(in_processes(Compare(str(texts), threshold), pieces))
    return np.frombuffer(found, np.uint8).astype(bool)


def _lay_down(folder: Path, wanted: Numbers, texts: Path) -> Numbers:
    """Write the texts of the wanted records one after another; return their edges."""
    sizes = [np.zeros(1, np.int64)]
    keys = pa.array(wanted)
    with texts.open("wb") as out:
        for shard in sorted(folder.rglob("*.parquet")):
            for batch in read_batches(shard, columns=["at", "text", "spaced"]):
                taken = batch.filter(pc.is_in(batch["at"], keys))
                compared = pc.coalesce(taken["spaced"], taken["text"])
                sizes.append(pc.binary_length(compared).to_numpy(zero_copy_only=False))
                out.write("".join(compared.to_pylist()).encode())
    return np.cumsum(np.concatenate(sizes), dtype=np.int64)


def components(pairs: Numbers) -> tuple[Numbers, Numbers]:
    """Union-find: each member but the first of its component, rising, and that first."""
    parent: dict[int, int] = {}

    def root(at: int) -> int:
        while (above := parent.get(at, at)) != at:
            parent[at] = parent.get(above, above)
            at = above
        return at

    for one, other in pairs.tolist():
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    found = [(at, root(at)) for at in sorted(parent) if root(at) != at]
    made = np.array(found, np.int64).reshape(-1, 2)
    return made[:, 0], made[:, 1]
