"""When are two texts the same, and which of many texts stand in others?

Four levels, each weaker than the one before: *exact*, the same string but for white space at its
ends; *normalised*, the same once composed (NFC), case-folded, and with white space collapsed;
*contained*, a long run of its words stands in the other (Brown et al. 2020, "Language Models are
Few-Shot Learners", appendix C: 13 words); *near*, most of its pairs of words do.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from steps.core.entry import StepError
from steps.core.files import read_batches
from steps.corpora.indexes import Runs, Shingles
from steps.corpora.overlap import collapsed, parted, words

LEVELS = ("exact", "normalised", "contained", "near")
CONTAINED, NEAR = 2, 3
HELD_OUT = ("test", "validation")
BESIDE = (
    "pair",
    "target",
)  # held-out too where they have SENTENCE words: "yes", a title tell nothing
SENTENCE = 8
SHOWN = 20  # matches of a level whose text is kept, for people to look at
_PARAGRAPHS = re.compile(r"\n\s*\n")


class Rules(NamedTuple):
    """What is overlap: a share of a text's runs of `ngram` words, or a Jaccard similarity."""

    ngram: int
    containment: float
    near: float


class Hit(NamedTuple):
    """How strongly (a place in LEVELS, 0 the strongest), and which text."""

    level: int
    number: int


class Matcher:
    """Many texts, indexed; others are held against them. `done`: the level a text has reached."""

    def __init__(self, texts: Sequence[str], rules: Rules) -> None:
        self.done = np.full(len(texts), len(LEVELS))
        self._settled = 0
        self._exact: dict[str, list[int]] = {}
        self._collapsed: dict[str, list[int]] = {}
        for number, text in enumerate(texts):
            self._exact.setdefault(text.strip(), []).append(number)
            self._collapsed.setdefault(collapsed(text), []).append(number)
        sequences = [words(text) for text in texts]
        self._sequences = {hash(tuple(sequence)) for sequence in sequences}
        self._runs = Runs(sequences, rules.ngram, rules.containment)
        self._shingles = Shingles(sequences, rules.near)

    def same(self, text: str, found: list[str]) -> Iterator[Hit]:
        """Yield the texts to which one is equal, or near by its words, if that is news of them."""
        bare = text.strip()
        if bare and hash(tuple(found)) in self._sequences:
            for level, equal in enumerate((self._exact.get(bare), self._letters(bare))):
                for number in equal or ():
                    if self.done[number] > level:
                        yield Hit(level, number)
        for number in self._shingles.find(found, lambda number: self.done[number] > NEAR):
            yield Hit(NEAR, number)

    def contained(self, documents: list[list[str]]) -> list[tuple[int, Hit]]:
        """Give the place of each document that holds a text, and which one."""
        pairs = self._runs.find(documents)
        news = pairs[self.done[pairs[:, 1]] > CONTAINED] if len(pairs) else pairs
        return [(place, Hit(CONTAINED, number)) for place, number in news.tolist()]

    def first(self, texts: Sequence[str], paragraphs: bool = False) -> list[Hit | None]:
        """Give the strongest hit of each text, or of its `paragraphs` too; None where none is."""
        found: list[Hit | None] = []
        documents = []
        for text in texts:
            parts = _PARAGRAPHS.split(text) if paragraphs else [text]
            sequences = parted(parts)
            whole = list(chain.from_iterable(sequences))
            units = [(text, whole)]
            if len(parts) > 1:
                units += zip(parts, sequences, strict=True)
            found.append(min((hit for unit in units for hit in self.same(*unit)), default=None))
            documents.append(whole)
        for place, hit in self.contained(documents):
            found[place] = min(found[place] or hit, hit)
        return found

    def settle(self) -> None:
        """Look no longer for runs of the texts that are known to be contained, if they are many."""
        settled = self.done <= CONTAINED
        if settled.sum() - self._settled > len(settled) / 20:
            self._settled = settled.sum()
            self._runs.forget(settled)

    def _letters(self, text: str) -> list[int] | None:
        return self._collapsed.get(collapsed(text))


class Match(NamedTuple):
    """How strongly a text stands in LEFT, and where first so; `text` is kept of SHOWN a level."""

    level: int
    place: str
    text: str


def compare(
    left: Iterable[tuple[str, str]], right: Sequence[str], rules: Rules
) -> list[Match | None]:
    """Find for each text of RIGHT its strongest match in LEFT, (place, text) read once."""
    distinct = list(dict.fromkeys(text.strip() for text in right))
    matcher = Matcher(distinct, rules)
    found: list[Match | None] = [None] * len(distinct)
    kept = [0] * len(LEVELS)

    def note(hit: Hit, place: str, text: str) -> None:
        if matcher.done[hit.number] > hit.level:
            matcher.done[hit.number] = hit.level
            kept[hit.level] += 1
            found[hit.number] = Match(hit.level, place, text * (kept[hit.level] <= SHOWN))

    for batch in _batches(left):
        documents = [words(text) for _, text in batch]
        for (place, text), document in zip(batch, documents, strict=True):
            for hit in matcher.same(text, document):
                note(hit, place, text)
        for at, hit in matcher.contained(documents):
            note(hit, *batch[at])
        matcher.settle()
    match_of = dict(zip(distinct, found, strict=True))
    return [match_of[text.strip()] for text in right]


def count(matches: Iterable[Match | None]) -> dict[str, int]:
    """Count by level, each including the stronger ones."""
    levels = [match.level for match in matches if match]
    return {name: sum(one <= level for one in levels) for level, name in enumerate(LEVELS)}


@dataclass(frozen=True)
class HeldOut:
    """A text of a task's validation or test split."""

    text: str
    group: str
    task: str
    split: str


def held_out_texts(splits: Path) -> list[HeldOut]:
    """Read the validation and test texts of every task below `splits`, in a fixed order.

    The second text of a pair, and what is to be translated to, written or found, are among them.
    """
    files = [file for part in HELD_OUT for file in splits.glob(f"*/{part}.parquet")]
    if not files:
        raise StepError(f"no splits in {splits}; run `dvc repro split` to make them")
    return [
        HeldOut(text, row["group"], file.parent.name, file.stem)
        for file in sorted(files)
        for batch in read_batches(file, columns=["text", "group", *BESIDE])
        for row in batch.to_pylist()
        for text in (row["text"], *(row[name] for name in BESIDE if _tells(row.get(name, ""))))
    ]


def _tells(text: str) -> bool:
    return len(words(text)) >= SENTENCE


class Overlaps:
    """Says which documents hold a held-out text: as a whole, as a paragraph, or inside."""

    def __init__(self, held_out: Sequence[HeldOut], rules: Rules) -> None:
        self._held_out = held_out
        self._matcher = Matcher([item.text for item in held_out], rules)

    def find(self, texts: Sequence[str]) -> list[tuple[str, HeldOut] | None]:
        """Give the level and the first held-out text of each document, or None."""
        hits = self._matcher.first(texts, paragraphs=True)
        return [(LEVELS[hit.level], self._held_out[hit.number]) if hit else None for hit in hits]


def _batches(left: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Cut into growing batches: what all texts share is found, and forgotten, in a small one."""
    texts = iter(left)
    size = 32
    while batch := list(islice(texts, size)):
        yield batch
        size = min(2 * size, 2048)
