"""When are two texts the same, and which documents hold a held-out text?

Contamination is measured by n-grams of words, as in GPT-3's report (Brown et al. 2020, appendix C).
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MARKERS = ("<<", ">>", "[[", "]]")
SHORTEST = 5  # words from which a text is looked for inside a document; fewer occur by chance
_PARAGRAPHS = re.compile(r"\n\s*\n")
_KEPT = {"L", "M", "N"}  # letters, marks (vowels, in many scripts) and numbers
_UNSPACED = ((0x0E00, 0x0EFF), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF))


class _Separators(dict[int, str]):
    """A table for str.translate that learns each character when it first meets it."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = unicodedata.category(character)[0] in _KEPT or character == "_"
        alone = any(low <= code <= high for low, high in _UNSPACED)
        self[code] = f" {character} " if alone else character if kept else " "
        return self[code]


_TABLE = _Separators()
_PROTECTED = [(marker, f" \ue000{place} ") for place, marker in enumerate(MARKERS)]
_TABLE[0xE000] = "\ue000"  # private use: stands for a marker while punctuation goes


def words(text: str) -> list[str]:
    """Return the words without case, compatibility forms and punctuation; markers are words.

    Scripts without spaces (Chinese, Japanese, Thai, ...) give one word a character.
    """
    folded = text.lower() if text.isascii() else _fold(text)
    for marker, stand_in in _PROTECTED:
        folded = folded.replace(marker, stand_in)
    return folded.translate(_TABLE).split()


def normalised(text: str) -> str:
    """Return the form in which texts are compared; a text without words is compared as it is."""
    return " ".join(words(text)) or text.strip()


@dataclass(frozen=True)
class HeldOut:
    """A text of a task's validation or test split."""

    text: str
    group: str
    task: str
    split: str


class Overlaps:
    """An inverted index over held-out texts: one look-up a word of a document."""

    def __init__(self, held_out: Sequence[HeldOut], ngram: int, containment: float) -> None:
        self._held_out, self._ngram, self._containment = held_out, ngram, containment
        self._exact: dict[str, int] = {}
        self._heads: defaultdict[tuple[str, ...], list[tuple[int, list[str]]]] = defaultdict(list)
        self._grams: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self._sizes: dict[int, int] = {}  # distinct n-grams of a text
        for number, item in enumerate(held_out):
            self._add(number, item.text)

    def find(self, text: str) -> tuple[str, HeldOut] | None:
        """Return the reason ("exact" or "contained") and the first held-out text, or None."""
        paragraphs = [words(part) for part in _PARAGRAPHS.split(text)]
        document = [word for part in paragraphs for word in part]
        keys = [normalised(text)] if len(document) == 0 else _joined([document, *paragraphs])
        if exact := [self._exact[key] for key in keys if key in self._exact]:
            return "exact", self._held_out[min(exact)]
        if contained := [*self._contained(document), *self._sequences(document)]:
            return "contained", self._held_out[min(contained)]
        return None

    def _add(self, number: int, text: str) -> None:
        found = words(text)
        self._exact.setdefault(normalised(text), number)
        grams = set(_windows(found, self._ngram))
        self._sizes[number] = len(grams)
        for gram in grams:
            self._grams[gram].append(number)
        if SHORTEST <= len(found) < self._ngram:
            self._heads[tuple(found[:SHORTEST])].append((number, found))

    def _contained(self, document: list[str]) -> list[int]:
        """Held-out texts of which the document has the given share of n-grams."""
        shared = {gram for gram in _windows(document, self._ngram) if gram in self._grams}
        counts = Counter(number for gram in shared for number in self._grams[gram])
        least = self._containment
        return [number for number, n in counts.items() if n >= least * self._sizes[number]]

    def _sequences(self, document: list[str]) -> list[int]:
        """Texts too short for an n-gram that stand in the document word by word."""
        if not self._heads:
            return []
        starts = enumerate(_windows(document, SHORTEST))
        return [
            number
            for start, head in starts
            if head in self._heads
            for number, found in self._heads[head]
            if document[start : start + len(found)] == found
        ]


def _fold(text: str) -> str:
    """NFKC_Casefold (Unicode 3.13, D146), save that nothing is removed."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _windows(found: list[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(found[start:] for start in range(size)), strict=False)


def _joined(parts: Iterable[list[str]]) -> list[str]:
    return [" ".join(part) for part in parts if part]
