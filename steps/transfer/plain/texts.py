"""Plain ways to write a text: one of training, the first words of what was read, all of it.

Of a continuation the loss is that of a bigram model (steps.transfer.plain.language), whatever is
written.
"""

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from steps.core.files import read_json, write_json
from steps.tasks import Item, generation
from steps.tasks.classification import features
from steps.transfer.plain.language import Language
from steps.transfer.plain.vocabulary import Vocabulary
from steps.transfer.strategies import Material

ROWS = 512  # texts that are compared at once


class Writer(ABC):
    """Writes by `write`: a text and how sure it is, for each item."""

    def __init__(self, kind: ModuleType, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        self.language = Language(pairs) if kind is generation else None
        self.begin()

    @abstractmethod
    def begin(self) -> None:
        """Make what `write` needs of the training pairs."""

    @abstractmethod
    def write(self, texts: list[str]) -> list[tuple[str, float]]:
        """Write a text for each."""

    @classmethod
    def fit(cls, material: Material, inverse: float) -> "Writer":
        pairs = [(example["text"], example["target"]) for example in material.examples]
        return cls(material.type, pairs)

    def save(self, out: Path) -> None:
        write_json(out / "pairs.json", [list(pair) for pair in self.pairs])

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> "Writer":
        return cls(kind, [(text, target) for text, target in read_json(folder / "pairs.json")])

    def raws(self, items: list[Item]) -> list[dict[str, Any]]:
        said = self.write([item["text"] for item in items])
        return [
            {"text": text, "confidence": sure, **self._measured(item)}
            for item, (text, sure) in zip(items, said, strict=True)
        ]

    def _measured(self, item: Item) -> dict[str, Any]:
        target = item.get("target")
        if self.language is None or target is None:
            return {"loss": None, "words": None}
        return {"loss": self.language.loss(item["text"], target), "words": len(target.split())}


class Majority(Writer):
    """The most frequent target."""

    def begin(self) -> None:
        counts = Counter(target for _, target in self.pairs)
        self.best = max(sorted(counts), key=counts.__getitem__)
        self.share = counts[self.best] / counts.total()

    def write(self, texts: list[str]) -> list[tuple[str, float]]:
        return [(self.best, self.share)] * len(texts)


class Copy(Writer):
    """The text itself."""

    def begin(self) -> None:
        """Nothing is needed."""

    def write(self, texts: list[str]) -> list[tuple[str, float]]:
        return [(text, 1.0) for text in texts]


class Lead(Writer):
    """The first words of the text, as many as targets have in the mean (the LEAD baseline of the
    Document Understanding Conferences; Nenkova 2005, "Automatic Text Summarization of Newswire").
    """

    def begin(self) -> None:
        self.words = round(np.mean([len(target.split()) for _, target in self.pairs]))

    def write(self, texts: list[str]) -> list[tuple[str, float]]:
        return [(" ".join(text.split()[: max(1, self.words)]), 1.0) for text in texts]


class Nearest(Writer):
    """The target of the training text that is nearest by the cosine of TF-IDF, as a translation
    memory does; the first of equals.
    """

    def begin(self) -> None:
        rows = [_features(text) for text, _ in self.pairs]
        self.vocabulary = Vocabulary.fit(rows, weigh=True)
        self.known = self.vocabulary.matrix(rows)

    def write(self, texts: list[str]) -> list[tuple[str, float]]:
        found = []
        for at in range(0, len(texts), ROWS):
            rows = [_features(text) for text in texts[at : at + ROWS]]
            alike = (self.vocabulary.matrix(rows) @ self.known.T).toarray()
            best = np.round(alike, 9).argmax(axis=1)  # rounding makes no order among equals
            sure = np.clip(alike[np.arange(len(rows)), best], 0, 1)
            found += [(self.pairs[n][1], float(s)) for n, s in zip(best, sure, strict=True)]
        return found


def _features(text: str) -> dict[str, float]:
    return features({"text": text})[0]
