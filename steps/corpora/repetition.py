"""How much of a text is repetition: the measures of Gopher (Rae et al. 2021, table A1).

Characters are those of words, white space counts nowhere; those in overlapping n-grams count once.
An n-gram can occur twice only where its beginning does: each length looks but at the places that
the length before left over.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import compress

LINES, LINE_CHARACTERS = 0.30, 0.20
PARAGRAPHS, PARAGRAPH_CHARACTERS = 0.30, 0.20
TOP = {2: 0.20, 3: 0.18, 4: 0.16}  # words -> share of the most frequent n-gram
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}  # -> of all that occur again
LEAST = min(DUPLICATE.values())
Gram = tuple[str, ...]
Repeated = list[tuple[int, Gram]]


def against_lines(lines: Sequence[str], paragraphs: Sequence[str]) -> str:
    """The first limit on repeated lines or paragraphs that is passed, or ""."""
    share, characters = duplicates(lines)
    if share > LINES:
        return "duplicate_lines"
    if characters > LINE_CHARACTERS:
        return "duplicate_line_characters"
    share, characters = duplicates(paragraphs)
    if share > PARAGRAPHS:
        return "duplicate_paragraphs"
    return "duplicate_paragraph_characters" if characters > PARAGRAPH_CHARACTERS else ""


def against_ngrams(words: Sequence[str], units: int = 1) -> str:
    """The first limit on repeated n-grams that is passed, or ""; `units`: how many make a word.

    What repeated n-grams leave uncovered, longer ones cannot cover, nor can the top one alone:
    where that is below all limits, as in most texts after three words, nothing more is looked at.
    """
    words, total = tuple(words), len("".join(words))
    places: Sequence[int] = range(len(words))
    first = _first_size(words, total) if units == 1 else 2
    grams = list(zip(*(words[at:] for at in range(first * units)), strict=False))
    for size in range(first, max(DUPLICATE) + 1):
        if len(set(grams)) == len(grams):
            return ""
        width = size * units
        again = _repeated(places, grams)
        places = [place for place, _ in again]
        covered = _covered(words, places, width) if size > 2 else total
        if covered <= LEAST * total:
            return ""
        if size in TOP and covered > TOP[size] * total and _is_top(words, again, TOP[size] * total):
            return f"top_{size}_grams"
        if covered > DUPLICATE.get(size, 1) * total:
            return f"repeated_{size}_grams"
        places = [at for at in places if at + width + units <= len(words)]
        grams = [words[at : at + width + units] for at in places]
    return ""


def _first_size(words: Gram, total: int) -> int:
    """The first n whose top n-gram may pass its limit.

    All occurrences of an n-gram lie on occurrences of n words: no more characters than the n words
    have that have most.
    """
    counts = Counter(words).items()
    most = sorted([len(word) * count for word, count in counts if count > 1], reverse=True)
    sizes = (size for size, share in TOP.items() if sum(most[:size]) > share * total)
    return next(sizes, min(DUPLICATE))


def duplicates(items: Sequence[str]) -> tuple[float, float]:
    """The share of items that were there before, and of characters in them."""
    if len(counts := Counter(items)) == len(items):
        return 0.0, 0.0
    again = sum((count - 1) * len(item) for item, count in counts.items())
    return (len(items) - len(counts)) / len(items), again / max(1, sum(map(len, items)))


def _repeated(places: Sequence[int], grams: Sequence[Gram]) -> Repeated:
    """The n-grams that are there twice or more often: where, and which."""
    seen: set[Gram] = set()
    twice = {gram for gram in grams if gram in seen or seen.add(gram)}
    return list(compress(zip(places, grams, strict=False), map(twice.__contains__, grams)))


def _is_top(words: Gram, again: Repeated, limit: float) -> bool:
    """Whether the most frequent n-gram covers more characters than the limit; of equals, any."""
    starts = defaultdict(list)
    for place, gram in again:
        starts[gram].append(place)
    often = max(map(len, starts.values()), default=0)
    return any(
        _covered(words, at, len(gram)) > limit
        for gram, at in starts.items()
        if len(at) == often and often * len("".join(gram)) > limit
    )


def _covered(words: Gram, places: Sequence[int], width: int) -> int:
    """Characters of the words that n-grams at these places, in order, lie on."""
    total, end = 0, 0
    for at in places:
        total += len("".join(words[max(at, end) : at + width]))
        end = at + width
    return total
