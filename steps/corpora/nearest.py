"""The documents of a pool that are nearest to a task's texts: its own field within a larger one.

Gururangan et al. 2020, "Don't Stop Pretraining", section 5.2 (kNN-TAPT). Texts are vectors of their
hashed words, weighted by inverse document frequency, and near by their cosine. A long document is
no match for a short text; so it is cut into passages, and is as near as the nearest of them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from steps.core.progress import Bar
from steps.corpora.overlap import words

FEATURES = 1 << 20  # places of hashed words
PASSAGE = 100  # words, as in Karpukhin et al. 2020, "Dense Passage Retrieval", section 4.1
CELLS = 1 << 22  # similarities in memory at a time

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Pool = Callable[[], Iterable[Sequence[str]]]  # batches of texts; it is read twice


def nearest(texts: Sequence[str], pool: Pool, size: int, k: int) -> Numbers:
    """Return the places in the pool, rising, of the `k` documents nearest to each of the texts.

    `size`: the documents of the pool. Of equals the first is nearer; what has no word in common
    with a text is not near to it at all. Memory grows with the texts times k, not with the pool.
    """
    weights = _weights(_watched(pool, "nearest: words of the pool", size))
    queries = _vectors([words(text) for text in texts], weights).T.tocsr()  # (FEATURES, texts)
    best = _Best(len(texts), k)
    first = 0
    for batch in _watched(pool, "nearest: documents", size):
        passages, starts = _passages(batch)
        vectors = _vectors(passages, weights)  # (passages, FEATURES)
        for here in _blocks(starts, len(passages), max(1, CELLS // max(1, len(texts)))):
            near = (vectors[here[0] : here[-1]] @ queries).toarray()
            best.add(np.maximum.reduceat(near, here[:-1] - here[0]).T, first)
            first += len(here) - 1
    return best.places()


class _Best:
    """The best `k` of each text so far, falling, and where they lie in the pool; -1 for none."""

    def __init__(self, texts: int, k: int) -> None:
        self._near = np.zeros((texts, k), np.float32)
        self._places = np.full((texts, k), -1)

    def add(self, near: Floats, first: int) -> None:
        """Take in the next documents: (texts, documents), from place `first` on."""
        rows = np.flatnonzero(near.max(axis=1) > self._near[:, -1])
        both = np.concatenate([self._near[rows], near[rows]], axis=1)
        new = np.broadcast_to(np.arange(first, first + near.shape[1]), near[rows].shape)
        places = np.concatenate([self._places[rows], new], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, : self._near.shape[1]]
        self._near[rows] = np.take_along_axis(both, order, axis=1)
        self._places[rows] = np.take_along_axis(places, order, axis=1)

    def places(self) -> Numbers:
        """Return what is among the best of any text, rising."""
        found = np.unique(self._places)
        return found[found >= 0]


def _weights(pool: Iterable[Sequence[str]]) -> Floats:
    """How rare each hashed word is among the passages of the pool."""
    seen, total = np.zeros(FEATURES, np.int64), 0
    for batch in pool:
        passages, _ = _passages(batch)
        seen += np.bincount(_count(passages).indices, minlength=FEATURES)
        total += len(passages)
    return (np.log((1 + total) / (1 + seen)) + 1).astype(np.float32)


def _vectors(sequences: list[list[str]], weights: Floats) -> Any:
    from sklearn.preprocessing import normalize

    found = _count(sequences)
    found.data *= weights[found.indices]
    return normalize(found, copy=False)


def _count(sequences: list[list[str]]) -> Any:
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(FEATURES, input_type="string", dtype=np.float32, alternate_sign=False)
    return hasher.transform(sequences)


def _passages(texts: Sequence[str]) -> tuple[list[list[str]], Numbers]:
    """Cut texts into passages of about one length each; also say where each text begins."""
    found: list[list[str]] = []
    starts = []
    for text in texts:
        starts.append(len(found))
        sequence = words(text)
        count = max(1, round(len(sequence) / PASSAGE))
        length = math.ceil(len(sequence) / count)
        found += [sequence[n * length : (n + 1) * length] for n in range(count)]
    return found, np.array(starts, np.int64)


def _blocks(starts: Numbers, total: int, most: int) -> Iterator[Numbers]:
    """Cut the texts into runs of at most `most` passages, one text at least: their bounds."""
    bounds = np.append(starts, total)
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + most, "right")) - 1)
        yield bounds[first : last + 1]
        first = last


def _watched(pool: Pool, what: str, size: int) -> Iterator[Sequence[str]]:
    with Bar(what, size) as bar:
        for batch in pool():
            yield batch
            bar.advance(len(batch))
