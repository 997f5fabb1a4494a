"""Plain ways to label units or to give a number: the most frequent, a linear model, a lexicon."""

from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from steps.core.files import read_json, write_json
from steps.tasks import Item
from steps.transfer.networks.heads import Arrays, activate, fit_head, load_head, save_head
from steps.transfer.plain.vocabulary import Vocabulary
from steps.transfer.strategies import Material

Phrase = tuple[str, ...]


class Majority:
    """The shares of the classes in training; of sets of labels the most frequent; of numbers the
    mean.
    """

    def __init__(self, kind: ModuleType, row: list[float]) -> None:
        self.kind, self.row = kind, row

    @classmethod
    def fit(cls, material: Material, inverse: float) -> "Majority":
        kind, classes = material.type, material.classes
        targets = np.concatenate([kind.targets(e, classes) for e in material.examples])
        if kind.OUTPUT == "classes":
            row = np.bincount(targets, minlength=len(classes)) / max(1, len(targets))
        elif kind.OUTPUT == "labels":
            row = _most_frequent(targets)
        else:
            row = targets.mean(axis=0)
        return cls(kind, [float(share) for share in row])

    def save(self, out: Path) -> None:
        write_json(out / "majority.json", self.row)

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> "Majority":
        return cls(kind, read_json(folder / "majority.json"))

    def raws(self, items: list[Item]) -> list[np.ndarray]:
        return [np.tile(self.row, (len(self.kind.units(item)), 1)) for item in items]


def _most_frequent(targets: np.ndarray) -> np.ndarray:
    """Each label's share, on the side of a half where the most frequent set of labels has it."""
    sets = Counter(tuple(row) for row in targets.tolist())
    best = np.array(max(sorted(sets), key=sets.__getitem__))
    shares = targets.mean(axis=0)
    return np.where(best > 0, np.maximum(shares, 0.5), np.minimum(shares, 0.5 - 1e-6))


class Linear:
    """TF-IDF of words and pairs for texts; word forms, shapes, affixes and neighbours for tagging;
    logistic regression, one for each label, or ridge.
    """

    def __init__(self, kind: ModuleType, vocabulary: Vocabulary, head: Arrays) -> None:
        self.kind, self.vocabulary, self.head = kind, vocabulary, head

    @classmethod
    def fit(cls, material: Material, inverse: float) -> "Linear":
        kind, classes = material.type, material.classes
        rows = [row for example in material.examples for row in kind.features(example)]
        targets = np.concatenate([kind.targets(e, classes) for e in material.examples])
        vocabulary = Vocabulary.fit(rows, kind.WEIGHED)
        head = fit_head(kind.OUTPUT, vocabulary.matrix(rows), targets, len(classes), inverse)
        return cls(kind, vocabulary, head)

    def save(self, out: Path) -> None:
        self.vocabulary.save(out)
        save_head(self.head, out)

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> "Linear":
        return cls(kind, Vocabulary.load(folder), load_head(folder))

    def raws(self, items: list[Item]) -> list[np.ndarray]:
        units = [self.kind.features(item) for item in items]
        matrix = self.vocabulary.matrix([row for rows in units for row in rows])
        shares = activate(self.kind.OUTPUT, self.head, matrix)
        return np.split(shares, np.cumsum([len(rows) for rows in units])[:-1])


class Crf(Linear):
    """The linear model, whose scores of neighbouring units are weighed together (Lafferty et al.
    2001); how classes follow each other is counted, not trained.
    """

    field: Any

    @classmethod
    def fit(cls, material: Material, inverse: float) -> "Crf":
        made = super().fit(material, inverse)
        made.field = _field(len(material.classes))
        targets = (material.type.targets(e, material.classes) for e in material.examples)
        made.field.begin([row for row in targets if len(row)])
        return made

    def save(self, out: Path) -> None:
        super().save(out)
        state = {name: part.numpy() for name, part in self.field.state_dict().items()}
        save_file(state, out / "field.safetensors")

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> "Crf":
        import torch

        made = super().load(folder, kind)
        state = load_file(folder / "field.safetensors")
        made.field = _field(len(state["first"]))
        made.field.load_state_dict({name: torch.from_numpy(part) for name, part in state.items()})
        return made

    def raws(self, items: list[Item]) -> list[np.ndarray]:
        import torch

        plain = super().raws(items)
        lengths = torch.tensor([len(rows) for rows in plain])
        if not lengths.sum():
            return plain
        scores = torch.from_numpy(np.log(np.concatenate(plain) + 1e-30)).float()
        with torch.inference_mode():
            shares = self.field.shares(scores, lengths)
        return [part.numpy() for part in shares.split(lengths.tolist())]


def _field(classes: int) -> Any:
    from steps.transfer.networks.modules import Field

    return Field(classes)


class Lexicon:
    """Words are labelled as they mostly were in training, the longest known phrase first; what was
    not seen, as most words were.

    A phrase is a unit with those after it that go on with its span, I-; it is known where training
    labels it so at least as often as it leaves it without a span.
    """

    def __init__(
        self, kind: ModuleType, known: dict[Phrase, tuple[list[int], float]], rest: list[float]
    ) -> None:
        self.kind, self.known, self.rest = kind, known, rest
        self.longest = max(map(len, known), default=0)

    @classmethod
    def fit(cls, material: Material, inverse: float) -> "Lexicon":
        kind, classes = material.type, material.classes
        read = [(_words(kind, e), kind.targets(e, classes).tolist()) for e in material.examples]
        counts: defaultdict[Phrase, Counter[tuple[int, ...]]] = defaultdict(Counter)
        for words, targets in read:
            for start, end in _phrases(targets, classes):
                counts[tuple(words[start:end])][tuple(targets[start:end])] += 1
        seen = _seen([words for words, _ in read], set(counts))
        known = {}
        for phrase, found in sorted(counts.items()):
            best = max(sorted(found), key=found.__getitem__)
            if found[best] >= seen[phrase] - found.total():
                known[phrase] = list(best), found[best] / seen[phrase]
        return cls(kind, known, Majority.fit(material, inverse).row)

    def save(self, out: Path) -> None:
        known = [[list(phrase), *said] for phrase, said in self.known.items()]
        write_json(out / "lexicon.json", {"known": known, "rest": self.rest})

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> "Lexicon":
        kept = read_json(folder / "lexicon.json")
        known = {tuple(phrase): (classes, share) for phrase, classes, share in kept["known"]}
        return cls(kind, known, kept["rest"])

    def raws(self, items: list[Item]) -> list[np.ndarray]:
        return [self._rows(_words(self.kind, item)) for item in items]

    def _rows(self, words: list[str]) -> np.ndarray:
        """(words, classes); the share that a phrase's classes leave is spread over the others."""
        found = np.tile(self.rest, (len(words), 1))
        at = 0
        while at < len(words):
            sizes = range(min(self.longest, len(words) - at), 0, -1)
            size = next((n for n in sizes if tuple(words[at : at + n]) in self.known), 0)
            if size:
                classes, share = self.known[tuple(words[at : at + size])]
                found[at : at + size] = (1 - share) / max(1, len(self.rest) - 1)
                found[range(at, at + size), classes] = share
            at += max(1, size)
        return found


def _words(kind: ModuleType, item: Item) -> Phrase:
    text = item[kind.INPUTS[-1]]
    return tuple(text[start:end] for start, end in kind.units(item))


def _phrases(targets: list[int], classes: list[str]) -> list[tuple[int, int]]:
    starts = [n for n, target in enumerate(targets) if not classes[target].startswith("I-")]
    return list(zip(starts, [*starts[1:], len(targets)], strict=True))


def _seen(texts: list[Phrase], phrases: set[Phrase]) -> Counter[Phrase]:
    """How often each phrase is in the texts, labelled or not."""
    found: Counter[Phrase] = Counter()
    for size in {len(phrase) for phrase in phrases}:
        for words in texts:
            grams = (words[at : at + size] for at in range(len(words) - size + 1))
            found.update(gram for gram in grams if gram in phrases)
    return found
