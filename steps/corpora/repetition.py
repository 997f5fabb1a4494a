"""How much of a text is repetition: the measures of Gopher (Rae et al. 2021, table A1).

Characters are those of words, white space counts nowhere; those in overlapping n-grams count once.
An n-gram can occur twice only where its beginning does: each length looks but at the places that
the length before left over.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

LINES, LINE_CHARACTERS = 0.30, 0.20
PARAGRAPHS, PARAGRAPH_CHARACTERS = 0.30, 0.20
TOP = {2: 0.20, 3: 0.18, 4: 0.16}  # words -> share of the most frequent n-gram
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}  # -> of all that occur again
LEAST = min(DUPLICATE.values())
Gram = tuple[str, ...]
Repeated = list[tuple[int, int, Gram]]


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
    grams = list(zip(*(words[at:] for at in range(2 * units)), strict=False))
    for size in range(2, max(DUPLICATE) + 1):
        again = _repeated(places, grams)
        if size in TOP and _is_top(words, again, TOP[size] * total):
            return f"top_{size}_grams"
        places = [place for _, place, _ in again]
        covered = _covered(words, places, size * units) if size > 2 else total
        if covered > DUPLICATE.get(size, 1) * total:
            return f"repeated_{size}_grams"
        if covered <= LEAST * total:
            return ""
        width = (size + 1) * units
        places = [at for at in places if at + width <= len(words)]
        grams = [words[at : at + width] for at in places]
    return ""


def duplicates(items: Sequence[str]) -> tuple[float, float]:
    """The share of items that were there before, and of characters in them."""
    if len(counts := Counter(items)) == len(items):
        return 0.0, 0.0
    again = sum((count - 1) * len(item) for item, count in counts.items())
    return (len(items) - len(counts)) / len(items), again / max(1, sum(map(len, items)))


def _repeated(places: Sequence[int], grams: Sequence[Gram]) -> Repeated:
    """The n-grams that are there twice or more often: how often, where, and which."""
    counts = Counter(grams)
    times = map(counts.__getitem__, grams)
    return [found for found in zip(times, places, grams, strict=False) if found[0] > 1]


def _is_top(words: Gram, again: Repeated, limit: float) -> bool:
    """Whether the most frequent n-gram covers more characters than the limit; of equals, any."""
    often = max(again, default=(0,))[0]
    starts = defaultdict(list)
    for times, place, gram in again:
        if times == often:
            starts[gram].append(place)
    return any(_covered(words, starts[gram], len(gram)) > limit for gram in starts)


def _covered(words: Gram, places: Sequence[int], width: int) -> int:
    """Characters of the words that n-grams at these places, in order, lie on."""
    total, end = 0, 0
    for at in places:
        total += len("".join(words[max(at, end) : at + width]))
        end = at + width
    return total
