"""Which units and classes a question is about, and which characters a plain feature stands for."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType

from steps.tasks import Item
from steps.tasks.classification import WORD
from steps.transfer.attribution import Mark, Question

FIELDS = {"1": "text", "2": "pair", "both": "pair", "only": "pair"}  # of a pair's features
NEIGHBOUR = re.compile(r"(-?\d):")  # a feature of the word so many places on
NOWHERE = re.compile(r"bias$|glued=|shared=")  # features that stand for no word
Place = tuple[str, int, int]  # field, start, end
Added = Mapping[str, float]  # a feature -> what it adds to a score
Finder = Callable[[str], list[Place] | None]  # a feature -> its places, None where it can have none


def units_of(kind: ModuleType, question: Question) -> list[int]:
    """The units that have any of the span."""
    bounds = kind.units(question.item)
    if question.span is None:
        return list(range(len(bounds)))
    first, last = question.span
    return [n for n, (start, end) in enumerate(bounds) if start < last and end > first]


def classes_of(kind: ModuleType, label: str, classes: Sequence[str]) -> list[int]:
    """The classes that say the label: of a span's that which begins it, and that which goes on."""
    named = kind.classes([label])
    return [n for n, name in enumerate(classes) if name in (named[1:] or named)]


def spread(kind: ModuleType, item: Item, unit: int, added: Added) -> tuple[list[Mark], float]:
    """Lay what features of a unit add on the words that they stand for; also the sum of what they
    should add up to: all but what stands for no word.
    """
    places = _in_text(kind, item) if kind.LEVEL == "text" else _at_word(kind, item, unit)
    marks, whole = [], 0.0
    for name, value in added.items():
        if (found := places(name)) is not None:
            whole += value
            marks += [Mark(*place, value / len(found)) for place in found]
    return marks, whole


def summed(marks: Iterable[Mark], times: float = 1.0) -> list[Mark]:
    """Marks of the same place as one, each a `times`-th, in the order of the text."""
    found: dict[Place, float] = defaultdict(float)
    for mark in marks:
        found[mark.field, mark.start, mark.end] += mark.value / times
    return [Mark(*place, value) for place, value in sorted(found.items())]


def shortfall(marks: Sequence[Mark], whole: float) -> float:
    """How far the marks' sum is from the whole, as a share of all that is attributed."""
    values = [mark.value for mark in marks]
    return abs(sum(values) - whole) / (sum(map(abs, values)) or 1.0)


def _in_text(kind: ModuleType, item: Item) -> Finder:
    """Find words and pairs of neighbours, wherever they are in their field."""
    words = {
        name: [(m.group().lower(), (name, *m.span())) for m in WORD.finditer(item[name])]
        for name in kind.INPUTS
    }

    def places(feature: str) -> list[Place] | None:
        if NOWHERE.match(feature):
            return None
        side, _, gram = feature.rpartition(":")
        looked_for, inside = gram.split(" "), words[FIELDS.get(side, kind.INPUTS[0])]
        size = len(looked_for)
        runs = (inside[at : at + size] for at in range(len(inside) - size + 1))
        return [place for run in runs if [w for w, _ in run] == looked_for for _, place in run]

    return places


def _at_word(kind: ModuleType, item: Item, unit: int) -> Finder:
    """Find the word itself, or its neighbour; beyond the text there is none."""
    bounds, field = kind.units(item), kind.INPUTS[-1]

    def places(feature: str) -> list[Place] | None:
        if NOWHERE.match(feature):
            return None
        beside = NEIGHBOUR.match(feature)
        at = unit + (int(beside[1]) if beside else 0)
        return [(field, *bounds[at])] if 0 <= at < len(bounds) else None

    return places
