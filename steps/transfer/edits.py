"""Edits of texts that leave their annotation true (EDA: Wei and Zou 2019, arXiv:1901.11196)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from steps.tasks import Item

WORD = re.compile(r"\w+")
Near = dict[str, list[str]]  # a word without case -> words that may take its place
Change = tuple[int, int, str]  # start, end, the text that takes the place
Places = list[tuple[int, int]]


@dataclass
class Editor:
    """Edits examples of one task type; the same seed makes the same copies."""

    type: ModuleType
    near: Near
    strength: float
    seed: int
    random: np.random.Generator = field(init=False)

    def copies(self, examples: Sequence[Item], edits: Sequence[str], times: int) -> list[Item]:
        """Edit each example so many times, by another of the edits each time."""
        self.random = np.random.default_rng(self.seed)
        known = {self._read(example) for example in examples}
        found = []
        for example in examples:
            for name in self._drawn(edits, times):
                copy = self._edited(example, name)
                if copy is not None and self._read(copy) not in known:
                    known.add(self._read(copy))
                    found.append(copy | {"id": f"{example['id']}+{len(found)}"})
        return found

    def _read(self, example: Item) -> tuple[str, ...]:
        return tuple(collapsed(example[name]) for name in self.type.INPUTS)

    def _drawn(self, edits: Sequence[str], times: int) -> list[str]:
        rounds = [self.random.permutation(len(edits)) for _ in range(-(-times // len(edits)))]
        return [edits[number] for number in np.concatenate(rounds)[:times]]

    def _edited(self, example: Item, edit: str) -> Item | None:
        """None where nothing of the example can be edited so."""
        if self.type.LEVEL == "words":
            return self._beside(example, edit)
        changed = {name: self._apply(EDITS[edit], example[name]) for name in self.type.INPUTS}
        return example | changed

    def _apply(self, edit: "Edit", text: str) -> str:
        places = [match.span() for match in WORD.finditer(text)]
        return changed(text, edit(self, text, places)) if places else text

    def _beside(self, example: Item, edit: str) -> Item | None:
        """Edit the words outside spans, and move the spans along."""
        if edit not in BESIDE:
            return None
        text, spans = example["text"], example["spans"]

        def free(start: int, end: int) -> bool:
            return not any(s["start"] < end and start < s["end"] for s in spans)

        places = [m.span() for m in WORD.finditer(text) if free(*m.span())]
        found = EDITS[edit](self, text, places) if places else []
        changes = [change for change in found if free(*change[:2])]  # the space beside a word, too
        return example | {"text": changed(text, changes), "spans": moved(spans, changes)}

    def some(self, places: Places) -> Places:
        """Draw as many of the words as an edit changes: at least one."""
        count = max(1, round(self.strength * len(places)))
        chosen = self.random.permutation(len(places))[:count]
        return [places[number] for number in sorted(chosen)]

    def synonym(self, word: str) -> str:
        """A word that may take its place, with its capital; the word itself where none is known."""
        known = self.near.get(word.casefold(), [])
        found = known[int(self.random.integers(len(known)))] if known else word
        return found[0].upper() + found[1:] if word[0].isupper() else found

    def known(self, text: str, places: Places) -> Places:
        return [(at, end) for at, end in places if self.near.get(text[at:end].casefold())]


def synonyms(editor: Editor, text: str, places: Places) -> list[Change]:
    known = editor.some(editor.known(text, places))
    return [(start, end, editor.synonym(text[start:end])) for start, end in known]


def insertions(editor: Editor, text: str, places: Places) -> list[Change]:
    """Put synonyms of words of the text before others."""
    known = editor.some(editor.known(text, places))
    before = editor.random.integers(len(places), size=len(known))
    found: dict[int, str] = {}
    for (start, end), place in zip(known, before.tolist(), strict=True):
        at = places[place][0]
        found[at] = f"{editor.synonym(text[start:end])} {found.get(at, '')}"
    return [(at, at, words) for at, words in sorted(found.items())]


def swaps(editor: Editor, text: str, places: Places) -> list[Change]:
    """Let pairs of words change places, none of them twice."""
    count = max(1, round(editor.strength * len(places)))
    chosen = editor.random.permutation(len(places))[: 2 * count].tolist()
    found = []
    for left, right in zip(chosen[::2], chosen[1::2], strict=False):
        (a, b), (c, d) = places[left], places[right]
        found += [(a, b, text[c:d]), (c, d, text[a:b])]
    return sorted(found)


def deletions(editor: Editor, text: str, places: Places) -> list[Change]:
    """Leave words out, with the space after or before them; never all words of a text."""
    found = []
    for start, end in editor.some(places)[: len(WORD.findall(text)) - 1]:
        if text[end : end + 1] == " ":
            found.append((start, end + 1, ""))
        elif text[start - 1 : start] == " " and not (found and found[-1][1] == start):
            found.append((start - 1, end, ""))
        else:
            found.append((start, end, ""))
    return found


Edit = Callable[[Editor, str, Places], list[Change]]
EDITS: dict[str, Edit] = {
    "synonyms": synonyms,
    "insertions": insertions,
    "swaps": swaps,
    "deletions": deletions,
}
BESIDE = ("synonyms", "deletions")  # what may be done beside spans


def changed(text: str, changes: list[Change]) -> str:
    """Apply changes, in order and apart from each other."""
    for start, end, words in reversed(changes):
        text = text[:start] + words + text[end:]
    return text


def moved(spans: list[dict[str, Any]], changes: list[Change]) -> list[dict[str, Any]]:
    """The spans' places after changes that touch none of them."""
    found = []
    for span in spans:
        shift = sum(len(words) - (end - at) for at, end, words in changes if end <= span["start"])
        found.append(span | {"start": span["start"] + shift, "end": span["end"] + shift})
    return found


def collapsed(text: str) -> str:
    """The form in which two texts are the same: without case, and white space as one."""
    return " ".join(text.casefold().split())
