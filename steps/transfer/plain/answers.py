"""Plain ways to answer from a text: never, or by the phrase that stands nearest to what was asked.

Questions' words point at the phrases near them, rare words more than frequent ones (the distance
of Richardson et al. 2013, "MCTest"); how answers look after who, when or how many is counted in
training, as in the features of Rajpurkar et al. 2016, section 5.1.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np

from steps.core.files import read_json, write_json
from steps.tasks import Item
from steps.transfer.plain.unlearned import Unlearned
from steps.transfer.strategies import Material

UNIT = re.compile(r"\w+(?:[-.'’]\w+)*|[^\w\s]")
ENDS = {".", "!", "?", ";"}
LONGEST = 5  # words of a phrase
KEPT = 20  # candidates of an item
JUDGED = 2000  # training examples from which it is learned when not to answer
NEVER = -1e4
ASKING = ("how many", "how much", "how", "who", "when", "where", "which", "why", "what")


class Majority(Unlearned):
    """There is no answer: the most frequent one where any is, and a mark of SQuAD 2."""

    def raws(self, items: list[Item]) -> list[np.ndarray]:
        return [np.array([[-1.0, -1.0, 0.0]]) for _ in items]


@dataclass(frozen=True)
class Reading:
    """A text in units, and the phrases in it that may answer: (start, end) of units."""

    text: str
    question: str

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        return [match.span() for match in UNIT.finditer(self.text)]

    @cached_property
    def units(self) -> list[str]:
        return [self.text[start:end] for start, end in self.bounds]

    @cached_property
    def asked(self) -> set[str]:
        return {unit.lower() for unit in UNIT.findall(self.question) if _is_word(unit)}

    @cached_property
    def sentences(self) -> np.ndarray:
        """The number of each unit's sentence."""
        ends = [unit in ENDS for unit in self.units]
        return np.cumsum([0, *ends])[:-1] if ends else np.zeros(0, dtype=np.int64)

    @cached_property
    def phrases(self) -> list[tuple[int, int]]:
        """Runs of words of one sentence without a word of the question."""
        free = [_is_word(unit) and unit.lower() not in self.asked for unit in self.units]
        found = []
        for start in range(len(free)):
            for end in range(start + 1, min(start + LONGEST, len(free)) + 1):
                if not free[end - 1]:
                    break
                found.append((start, end))
        return found

    def looks(self, start: int, end: int) -> Iterator[str]:
        """What can be seen of a phrase without knowing its words."""
        first, last = self.units[start], self.units[end - 1]
        yield f"words {end - start}"
        yield f"first {_look(first)}"
        yield f"last {_look(last)}"
        yield f"before {self._beside(start - 1)}"
        yield f"after {self._beside(end)}"

    def _beside(self, at: int) -> str:
        inside = 0 <= at < len(self.units)
        return _look(self.units[at]) if inside else "edge"

    def near(self, rarity: dict[str, float], most: float) -> np.ndarray:
        """How near each unit is to the words asked in its sentence: a share of their weight."""
        units = [unit.lower() for unit in self.units]
        found = np.zeros(len(units))
        here = np.arange(len(units))
        for word in self.asked & set(units):
            places = np.array([at for at, unit in enumerate(units) if unit == word])
            apart = np.abs(here[:, None] - places)
            same = self.sentences[:, None] == self.sentences[places]
            found += rarity.get(word, most) * np.where(same, 1 / (1 + apart), 0).max(axis=1)
        return found / (sum(rarity.get(word, most) for word in self.asked) or 1)


def _is_word(unit: str) -> bool:
    return unit[0].isalnum() or unit[0] == "_"


def _look(unit: str) -> str:
    if unit[0].isdigit():
        return "digits"
    if not unit[0].isalpha():
        return "sign"
    plain = unit.isalpha()
    return f"{'upper' if unit[0].isupper() else 'lower'} {'plain' if plain else 'mixed'}"


def _kind(question: str) -> str:
    found = [name for name in ASKING if re.search(rf"\b{name}\b", question.lower())]
    return found[0] if found else ""


class Nearest:
    """A phrase's score is the log of its nearness and of how much likelier than other phrases
    answers to such a question look like it; below `least` there is no answer.
    """

    def __init__(
        self, rarity: dict[str, float], most: float, gains: dict[str, dict[str, float]]
    ) -> None:
        self.rarity, self.most, self.gains = rarity, most, gains
        self.least = NEVER

    @classmethod
    def fit(cls, material: Material, inverse: float) -> "Nearest":
        examples = material.examples
        texts = sorted({example["text"] for example in examples})
        words = Counter(w for text in texts for w in {u.lower() for u in UNIT.findall(text)})
        rarity = {w: float(np.log((1 + len(texts)) / (1 + n))) for w, n in sorted(words.items())}
        made = cls(rarity, float(np.log(1 + len(texts))) or 1.0, _gains(examples))
        made.least = made._settled(examples[:JUDGED])
        return made

    def _settled(self, examples: list[Item]) -> float:
        """The score below which it is best, in training, not to answer."""
        if all(example["answers"] for example in examples):
            return NEVER
        best = [self._candidates(e)[:1] for e in examples]
        scores = np.array([row[0, 2] if len(row) else NEVER for row in best])
        gain = np.array([_gain(e, row) for e, row in zip(examples, best, strict=True)])
        order = np.argsort(-scores, kind="stable")
        total = np.cumsum(gain[order])  # of answering the surest, over not answering at all
        if not len(total) or total.max() <= 0:
            return -NEVER
        return float(scores[order][total.argmax()])

    def save(self, out: Path) -> None:
        write_json(out / "answers.json", vars(self))

    @classmethod
    def load(cls, folder: Path, kind: ModuleType) -> "Nearest":
        kept = read_json(folder / "answers.json")
        made = cls(kept["rarity"], kept["most"], kept["gains"])
        made.least = kept["least"]
        return made

    def raws(self, items: list[Item]) -> list[np.ndarray]:
        none = np.array([[-1.0, -1.0, self.least - 1e-9]])
        return [np.concatenate([self._candidates(item), none]) for item in items]

    def _candidates(self, item: Item) -> np.ndarray:
        """(candidates, 3), the best first: start, end, score."""
        read = Reading(item["text"], item["question"])
        near, gains = read.near(self.rarity, self.most), self.gains.get(_kind(read.question), {})
        rows = []
        for start, end in read.phrases:
            score = float(np.log(near[start:end].mean() + 1e-3))
            score += sum(gains.get(look, 0.0) for look in read.looks(start, end))
            rows.append((read.bounds[start][0], read.bounds[end - 1][1], score))
        found = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return found[np.argsort(-found[:, 2], kind="stable")[:KEPT]]


def _gains(examples: list[Item]) -> dict[str, dict[str, float]]:
    """By question word: log of how much likelier each look is in answers than in phrases."""
    right: defaultdict[str, Counter[str]] = defaultdict(Counter)
    others: Counter[str] = Counter()
    for example in examples:
        read = Reading(example["text"], example["question"])
        told = {(a["start"], a["start"] + len(a["text"])) for a in example["answers"]}
        for start, end in read.phrases:
            looks = list(read.looks(start, end))
            others.update(looks)
            if (read.bounds[start][0], read.bounds[end - 1][1]) in told:
                right[_kind(example["question"])].update(looks)
    return {
        kind: {look: _ratio(found, others, look) for look in sorted(others)}
        for kind, found in sorted(right.items())
    }


def _ratio(right: Counter[str], others: Counter[str], look: str) -> float:
    """Smoothed by one; each phrase has one look of each sort."""
    sort = look.partition(" ")[0]
    kinds = [name for name in others if name.partition(" ")[0] == sort]
    own = sum(right[name] for name in kinds) + len(kinds)
    rest = sum(others[name] for name in kinds) + len(kinds)
    return float(np.log((right[look] + 1) / own) - np.log((others[look] + 1) / rest))


def _gain(example: Item, best: np.ndarray) -> int:
    """What answering brings over not answering: 1 if that is right, -1 if silence was."""
    if not example["answers"]:
        return -1
    told = {answer["text"] for answer in example["answers"]}
    return int(len(best) > 0 and example["text"][int(best[0, 0]) : int(best[0, 1])] in told)
