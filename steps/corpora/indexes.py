"""Finding texts again that are not quite the same: by runs of their words, by pairs of their words.

Many texts are indexed once, and documents stream past them. Runs are looked up by 64-bit hashes of
word n-grams, a batch of documents at a time; pairs by prefix filtering, which misses nothing
(Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity
search").
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise, repeat
from typing import Any

import numpy as np

SHORTEST = 5  # words from which a text is looked for inside another; fewer occur by chance
EXPANDED = 4_000_000  # (document, text) pairs counted at a time
_END = ("",)  # is no word
_MIXED = np.uint64(0x9E3779B97F4A7C15)
Array = np.ndarray[Any, np.dtype[Any]]
Shingle = tuple[str, ...]


class Runs:
    """Texts of which a document holds the given share of n-grams, at least one.

    Of a text too short for an n-gram, of SHORTEST words at least, it must hold the whole.
    """

    def __init__(self, texts: Sequence[Sequence[str]], ngram: int, containment: float) -> None:
        self._containment, self._count = containment, len(texts)
        self._number: dict[str, int] = {}
        for word in chain.from_iterable(texts):
            self._number.setdefault(word, len(self._number) + 1)
        self._values = _mix(np.arange(len(self._number) + 1, dtype=np.uint64))
        self._factors = _mix(np.arange(1 << 20, (1 << 20) + ngram, dtype=np.uint64)) | np.uint64(1)
        lengths = np.array([len(text) for text in texts], np.int64)
        sizes = {*range(SHORTEST, ngram)} & set(lengths.tolist())
        self._tables: dict[int, _Table] = dict.fromkeys(sorted({*sizes, ngram}), _NOTHING)
        flat, edges = self._flatten(texts)
        for size, at, hashes in self._windows(flat):
            owners = np.searchsorted(edges, at, "right")
            mine = lengths[owners] == size if size < ngram else np.full(len(at), True)
            self._tables[size] = _Table(hashes[mine], owners[mine])
        self._tables = {size: table for size, table in self._tables.items() if len(table.keys)}

    def find(self, documents: Sequence[Sequence[str]]) -> Array:
        """Return (pairs, 2): the place of a document, the number of a text; sorted."""
        flat, edges = self._flatten(documents)
        found = [np.empty((0, 2), np.int64)]
        for size, at, hashes in self._windows(flat):
            table = self._tables[size]
            where, keys = table.look_up(hashes)
            places = np.searchsorted(edges, at[where], "right")
            codes = np.unique(places * len(table.keys) + keys)
            found += self._counted(table, *np.divmod(codes, max(1, len(table.keys))))
        pairs = np.concatenate(found)
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def forget(self, gone: Array) -> None:
        """Look no longer for the texts of which `gone`, a truth value each, is true."""
        for size, table in self._tables.items():
            self._tables[size] = table.without(gone)
        self._tables = {size: table for size, table in self._tables.items() if len(table.keys)}

    def _flatten(self, texts: Sequence[Sequence[str]]) -> tuple[Array, Array]:
        """Number the words, a 0 for one that is not known and behind each text; and their ends."""
        parts = chain.from_iterable(zip(texts, repeat(_END)))
        words = chain.from_iterable(parts)
        flat = np.fromiter(map(self._number.get, words, repeat(0)), np.int64)
        return flat, np.cumsum([len(text) + 1 for text in texts], dtype=np.int64)

    def _windows(self, flat: Array) -> Iterator[tuple[int, Array, Array]]:
        """Yield size, places and hashes of the runs of known words, for each size in demand."""
        if not self._tables or not len(flat):
            return
        zeros = np.flatnonzero(flat == 0)
        left = np.repeat(zeros, np.diff(zeros, prepend=-1)) - np.arange(len(flat))
        values = self._values[flat]
        at = np.flatnonzero(left >= min(self._tables))
        hashes = np.zeros(len(at), np.uint64)
        for place, factor in enumerate(self._factors[: max(self._tables)]):
            if place >= min(self._tables):
                long = left[at] > place
                at, hashes = at[long], hashes[long]
            hashes += values[at + place] * factor
            if place + 1 in self._tables:
                yield place + 1, at, hashes

    def _counted(self, table: "_Table", places: Array, keys: Array) -> Iterator[Array]:
        """Yield the pairs of document and text that share enough of the text's n-grams."""
        owned = table.edges[keys + 1] - table.edges[keys]
        pieces = np.cumsum(owned) // EXPANDED
        starts = np.flatnonzero(np.diff(pieces, prepend=-1))
        cuts = np.unique(np.searchsorted(places, places[starts]))  # a document is never cut
        for start, end in pairwise([*cuts.tolist(), len(places)]):
            many = owned[start:end]
            first = np.repeat(table.edges[keys[start:end]] - np.cumsum(many) + many, many)
            owners = table.owners[first + np.arange(len(first))]
            codes, shared = np.unique(
                np.repeat(places[start:end], many) * self._count + owners, return_counts=True
            )
            found = np.stack(np.divmod(codes, self._count), axis=1)
            yield found[shared >= self._containment * table.sizes[found[:, 1]]]


class _Table:
    """Hashes of n-grams, sorted, and whose they are; `sizes`: how many distinct ones a text has."""

    def __init__(self, hashes: Array, owners: Array, sizes: Array | None = None) -> None:
        order = np.lexsort((owners, hashes))
        hashes, owners = hashes[order], owners[order]
        if len(hashes):
            fresh = np.diff(hashes, prepend=~hashes[:1]) != 0
            other = fresh | (np.diff(owners, prepend=-1) != 0)
            hashes, self.owners = hashes[other], owners[other]
            self.edges = np.flatnonzero(np.append(fresh[other], True))
            self.keys = hashes[self.edges[:-1]]
        else:
            self.keys, self.owners, self.edges = hashes, owners, np.zeros(1, np.int64)
        self.sizes = np.bincount(self.owners) if sizes is None else sizes
        bits = min(26, max(10, len(self.keys).bit_length() + 4))
        self._shift = np.uint64(64 - bits)
        self._there = np.zeros(1 << bits, bool)  # says of most hashes at once that they are not
        self._there[self.keys >> self._shift] = True

    def look_up(self, hashes: Array) -> tuple[Array, Array]:
        """Return which of the hashes are here, and the number of each in `keys`."""
        where = np.flatnonzero(self._there[hashes >> self._shift])
        keys = np.minimum(np.searchsorted(self.keys, hashes[where]), len(self.keys) - 1)
        same = self.keys[keys] == hashes[where]
        return where[same], keys[same]

    def without(self, gone: Array) -> "_Table":
        """A table of the other texts alone."""
        stays = ~gone[self.owners]
        hashes = np.repeat(self.keys, np.diff(self.edges))
        return _Table(hashes[stays], self.owners[stays], self.sizes)


def _mix(numbers: Array) -> Array:
    """Scatter numbers over 64 bits (Steele, Lea and Flood 2014, SplitMix)."""
    mixed = numbers * _MIXED
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


_NOTHING = _Table(np.zeros(0, np.uint64), np.zeros(0, np.int64))


def shingles(words: Sequence[str]) -> set[Shingle]:
    """The pairs of neighbouring words; a single word stands for itself.

    Pairs and not runs of five, as documents are compared by: of a test sentence of 20 words with
    one of them changed they find .81 again, runs of five .52.
    """
    return set(pairwise(words)) if len(words) != 1 else {(words[0],)}


def jaccard(left: set[Shingle], right: set[Shingle]) -> float:
    """Share of the shingles of either that are in both; of nothing and nothing 0."""
    return len(left & right) / (len(left | right) or 1)


class Shingles:
    """Texts that have the given Jaccard similarity of word pairs with a document, 0 < near <= 1."""

    def __init__(self, texts: Sequence[Sequence[str]], near: float) -> None:
        self._texts, self._near = texts, near
        self._counts: Counter[Shingle] = Counter(chain.from_iterable(map(shingles, texts)))
        self._rare: defaultdict[Shingle, list[int]] = defaultdict(list)
        lengths = [0]
        for number, text in enumerate(texts):
            ordered = sorted(shingles(text), key=self._order)
            lengths.append(len(ordered))
            for shingle in ordered[: self._prefix(len(ordered))]:
                self._rare[shingle].append(number)
        self._most = max(lengths) / near
        self._known, self._probed = set(self._counts), set(self._rare)

    def find(self, words: Sequence[str], wanted: Callable[[int], bool]) -> Iterator[int]:
        """Yield the numbers of the wanted texts that are near to one of these words."""
        if len(words) - 1 > self._most and len(set(words)) - 1 > self._most:
            return
        if self._probed.isdisjoint(pairwise(words) if len(words) != 1 else [(words[0],)]):
            return
        found = shingles(words)
        known = found & self._known
        prefix = self._prefix(len(found)) - (len(found) - len(known))  # the unknown are rarest
        if prefix <= 0:
            return
        rarest = sorted(known, key=self._order)[:prefix]
        numbers = {n for shingle in rarest for n in self._rare.get(shingle, ())}
        for number in sorted(filter(wanted, numbers)):
            if jaccard(found, shingles(self._texts[number])) >= self._near:
                yield number

    def _order(self, shingle: Shingle) -> tuple[int, Shingle]:
        return self._counts[shingle], shingle

    def _prefix(self, size: int) -> int:
        """How many of its rarest shingles must hold one of any text that is near."""
        return size - math.ceil(self._near * size - 1e-9) + 1 if size else 0
