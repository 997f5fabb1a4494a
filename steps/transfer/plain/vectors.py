"""Plain vectors of queries and passages: TF-IDF of words, hashed."""

from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

import numpy as np

from steps.core.files import read_json, write_json
from steps.tasks import Item
from steps.tasks.classification import words
from steps.transfer.plain.unlearned import Unlearned
from steps.transfer.strategies import Material

WIDTH = 4096


class Majority(Unlearned):
    """All vectors are the same: a passage is found by chance alone, which counts as not at all."""

    def raws(self, items: list[Item]) -> list[dict[str, Any]]:
        return [_raw(item, lambda text: np.ones(1, dtype=np.float32)) for item in items]


class Nearest:
    """The cosine of TF-IDF (Salton and Buckley 1988, "Term-Weighting Approaches in Automatic Text
    Retrieval"). So that words which training has not seen count, too, and all vectors are of one
    width, words are hashed to places, with signs (Weinberger et al. 2009, arXiv:0902.2206).
    """

    def __init__(self, texts: int, seen: dict[str, int]) -> None:
        self.texts, self.seen = texts, seen

    @classmethod
    def fit(cls, material: Material, inverse: float) -> "Nearest":
        texts = sorted({e[name] for e in material.examples for name in ("text", "target")})
        seen = Counter(word for text in texts for word in set(words(text)))
        return cls(len(texts), dict(sorted(seen.items())))

    def save(self, out: Path) -> None:
        write_json(out / "words.json", {"texts": self.texts, "seen": self.seen})

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> "Nearest":
        return cls(**read_json(folder / "words.json"))

    def raws(self, items: list[Item]) -> list[dict[str, Any]]:
        return [_raw(item, self._vector) for item in items]

    def _vector(self, text: str) -> np.ndarray:
        found = np.zeros(WIDTH, dtype=np.float32)
        for word, count in Counter(words(text)).items():
            number = crc32(word.encode())
            weight = np.log((1 + self.texts) / (1 + self.seen.get(word, 0))) + 1
            sign = 1 if number & 1 else -1
            found[(number >> 1) % WIDTH] += sign * (1 + np.log(count)) * weight
        return found


def _raw(item: Item, vector: Any) -> dict[str, Any]:
    target = item.get("target")
    return {"query": vector(item["text"]), "passage": None if target is None else vector(target)}
