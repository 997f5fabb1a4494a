"""The words of a corpus, counted in bounded memory, and how two vocabularies compare."""

import math
from collections import Counter
from collections.abc import Iterable

from steps.corpora.overlap import words

TOP = 10_000  # words compared, as in Gururangan et al. 2020, "Don't Stop Pretraining", figure 2
MOST = 1_000_000  # distinct words in memory at a time


def count(texts: Iterable[str], top: int = TOP) -> dict[str, int]:
    """Count words without case; the `top` most frequent, ties in order of the alphabet.

    Past `MOST` distinct words the rarer half is forgotten: what is frequent stays.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word in words(text) if word.isalpha())
        if len(counts) > MOST:
            counts = Counter(dict(_ranked(counts)[: MOST // 2]))
    return dict(_ranked(counts)[:top])


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def overlap(left: dict[str, int], right: dict[str, int]) -> float:
    """Share of the left vocabulary's words that are also in the right one, 0 to 1."""
    return len(left.keys() & right.keys()) / len(left) if left else 0.0


def divergence(left: dict[str, int], right: dict[str, int]) -> float:
    """Jensen-Shannon divergence of two word distributions in bits, 0 (the same) to 1 (apart).

    Lin 1991, "Divergence measures based on the Shannon entropy".
    """
    totals = sum(left.values()) or 1, sum(right.values()) or 1
    found = 0.0
    for word in sorted(left.keys() | right.keys()):
        p, q = left.get(word, 0) / totals[0], right.get(word, 0) / totals[1]
        middle = (p + q) / 2
        found += sum(x * math.log2(x / middle) for x in (p, q) if x) / 2
    return found
