"""How what a champion reads and says has moved: figures from texts and from predictions."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from steps.checks.chance import Numbers, Sides, drawn
from steps.checks.drift import most_moved
from steps.checks.two_sample import Text, Told
from steps.core.params import choose
from steps.corpora import vocabulary

BINS = 20  # of confidence
MOST = 5000  # items a side that are looked at
WORDS = 1_000_000  # distinct words that are known, of what was learnt from
LABELS = ("classification", "sentiment", "pairs", "multilabel", "tokens", "tags")
Places = Mapping[str, Mapping[str, Sequence[int]]]  # kind of slice -> slice -> its texts


def _words(value: Any) -> float:
    return float(len(str(value["text"] if isinstance(value, Mapping) else value).split()))


NUMBERS: dict[str, tuple[str, Callable[[Any], float]]] = {  # task type -> what of a prediction
    "regression": ("value", float),
    "retrieval": ("rank", float),
    "question_answering": ("words", _words),
    "translation": ("words", _words),
    "summarisation": ("words", _words),
    "generation": ("words", _words),
}


@dataclass(frozen=True)
class Said:
    """Predictions of some items: their values, how sure the model was, and the items' groups."""

    values: Sequence[Any]
    sure: Sequence[float]
    groups: Sequence[str]

    def drawn(self, seed: int) -> "Said":
        """Of very many so many."""
        at = drawn(len(self.values), MOST, seed)
        return Said(*([side[n] for n in at] for side in (self.values, self.sure, self.groups)))


@dataclass(frozen=True)
class Parts:
    """Texts: those learnt from, those of the test set at registration, and the newest."""

    learnt: Sequence[Text]
    tested: Sequence[Text]
    now: Sequence[Text]


def inputs(parts: Parts, places: tuple[Places, Places], seed: int) -> dict[str, Any]:
    """Compare the newest texts with both parts; `places`: slices of the tested and the newest.

    They have moved where they are told from either: a test set may differ from training by the way
    they were drawn, which is no movement. `p` is of that claim, the larger of two.
    """
    since = Told(parts.tested, parts.now, seed)
    told = {
        "since_registration": since.apart(),
        "from_training": Told(parts.learnt, parts.now, seed).apart(),
        "at_registration": Told(parts.learnt, parts.tested, seed).apart(),
    }
    ps = [told[name].p for name in ("since_registration", "from_training")]
    known = [p for p in ps if p is not None]
    return {
        "texts": [len(part) for part in (parts.learnt, parts.tested, parts.now)],
        "told_apart": {name: asdict(found) for name, found in told.items()},
        "p": max(known) if ps[0] is not None else None,
        "slices": _slices(since, places),
        "words": _lengths(since, parts),
        "vocabulary": _vocabulary(parts),
    }


def _slices(told: Told, places: tuple[Places, Places]) -> list[dict[str, Any]]:
    """What of all texts is told apart in the slices that both have."""
    return [
        {"kind": kind, "slice": name, "texts": [len(here), len(there)]}
        | {"told_apart": asdict(told.apart_in(here, there))}
        for kind, name, here, there in _both(*places)
    ]


def _lengths(told: Told, parts: Parts) -> dict[str, Any]:
    pairs = zip((parts.tested, parts.now), told.places, strict=True)
    long = [[float(len(side[at].text.split())) for at in places] for side, places in pairs]
    middles = [median(side) if side else None for side in long]
    return {"median": middles} | asdict(told.sides.gap([*long[0], *long[1]]))


def unseen(counts: Mapping[str, int], known: Mapping[str, int]) -> float | None:
    """Share of the running words that are not known; None where there are no words."""
    total = sum(counts.values())
    lacking = sum(count for word, count in counts.items() if word not in known)
    return round(lacking / total, 6) if total else None


def outputs(kind: str, then: Said, now: Said, seed: int) -> dict[str, Any]:
    """Compare what was predicted: shares of labels, numbers, how sure; None where there is none."""
    many = [len(then.values), len(now.values)]
    then, now = (side.drawn(seed) for side in (then, now))
    sides = Sides(then.groups, now.groups, seed)
    return {
        "items": many,
        "labels": _labels(kind, then, now, sides),
        "numbers": _numbers(kind, then, now, sides),
        "confidence": {"mean": [_mean(then.sure), _mean(now.sure)]}
        | {"histogram": _histogram(then.sure, now.sure)}
        | asdict(sides.gap([*then.sure, *now.sure])),
    }


def _both(then: Places, now: Places) -> list[tuple[str, str, Sequence[int], Sequence[int]]]:
    """Slices that both have."""
    return [
        (kind, name, then[kind][name], at)
        for kind, inside in now.items()
        for name, at in inside.items()
        if name in then.get(kind, {})
    ]


def _vocabulary(parts: Parts) -> dict[str, Any]:
    learnt, tested, now = (
        vocabulary.count((one.text for one in part), WORDS)
        for part in (parts.learnt, parts.tested, parts.now)
    )
    return {
        "unseen": [unseen(part, learnt) for part in (tested, now)],
        "divergence": round(vocabulary.divergence(now, tested), 6),
        "moved": most_moved(now, tested),
    }


def _labels(kind: str, then: Said, now: Said, sides: Sides) -> dict[str, Any] | None:
    if kind not in (*LABELS, "question_answering"):
        return None
    each = [Counter(_names(kind, value)) for value in [*then.values, *now.values]]
    names = sorted({name for one in each for name in one})
    counts: Numbers = np.array([[one[name] for name in names] for one in each], np.float32)
    halves = counts[: len(then.values)], counts[len(then.values) :]
    shares = [half.sum(axis=0) / max(1, half.sum()) for half in halves]
    said = {name: [round(float(side[at]), 6) for side in shares] for at, name in enumerate(names)}
    return {"shares": said} | asdict(sides.variation(counts))


def _names(kind: str, value: Any) -> list[str]:
    """The labels of one prediction."""
    if kind == "question_answering":
        return ["an answer" if value else "no answer"]
    if kind in ("tokens", "tags"):
        return [str(span[2]) for span in value] or ["none"]
    return [str(value)] if isinstance(value, str) else [str(one) for one in value] or ["none"]


def _numbers(kind: str, then: Said, now: Said, sides: Sides) -> dict[str, Any] | None:
    if kind in LABELS:
        return None
    what, number = choose(kind, NUMBERS, "task type")
    found = [[number(value) for value in side.values] for side in (then, now)]
    middles = [round(median(side), 6) if side else None for side in found]
    return {"what": what, "median": middles} | asdict(sides.gap([*found[0], *found[1]]))


def _histogram(then: Sequence[float], now: Sequence[float]) -> list[list[float]]:
    """Rows of (from, share of then, share of now); none where all are equally sure."""
    if len({*then, *now}) < 2:
        return []
    edges = np.linspace(0, 1, BINS + 1)
    sides = [
        np.histogram(np.clip(side, 0, 1), edges)[0] / max(1, len(side)) for side in (then, now)
    ]
    rows = zip(edges, *sides, strict=False)
    return [[round(float(number), 6) for number in row] for row in rows]


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 6) if len(values) else None
