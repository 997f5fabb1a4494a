"""A champion's figure on the newest items beside the one that it was registered with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import hypot
from typing import Any

import numpy as np

from pipelines.champion_before import Before
from steps.core.params import Judge, Task
from steps.corpora.overlap import normalised
from steps.judge.bootstrap import Interval, interval, paired
from steps.judge.load import Predictions, References
from steps.judge.metrics import Metric, metric_for
from steps.judge.significance import by_slice
from steps.judge.slices import kinds_for, places
from steps.judge.values import Array, rounded
from steps.tasks import Prediction, task_type

Figures = dict[str, Any]
WORDS = {"promote": "better", "refuse": "worse", "inconclusive": "inconclusive"}


def fresh(
    newest: References, known: Sequence[References | None], tested: Sequence[str]
) -> References:
    """Leave out the items whose text the champion was trained or chosen by, since a new split may
    have moved them here; those of its own test set stay.
    """
    fields = task_type(newest.kind).INPUTS
    learnt = {_key(row, fields) for part in known[:2] if part for row in part.examples}
    own = set(tested)
    at = [
        place
        for place, (name, row) in enumerate(zip(newest.ids, newest.examples, strict=True))
        if name in own or _key(row, fields) not in learnt
    ]
    return replace(
        newest,
        ids=[newest.ids[n] for n in at],
        examples=[newest.examples[n] for n in at],
        values=[newest.values[n] for n in at],
    )


def _key(row: Mapping[str, Any], fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(normalised(str(row[name])) for name in fields)


class Sides:
    """Counts of the champion now and then, each held against its own references."""

    def __init__(
        self,
        then: tuple[Before, References | None],
        now: tuple[References, Sequence[Prediction]],
        task: Task,
        judge: Judge,
    ) -> None:
        (self.before, self.old), (self.new, made) = then, now
        self.metric = metric_for(task.metric, self.new.kind)
        self.judge, self.task = judge, task
        said = _predictions(self.before, self.new, made)
        self.now: Array = said.statistics(self.new, self.metric)
        self.then: Array | None = None
        if self.old is not None:
            self.then = self.before.said.statistics(self.old, self.metric)

    @property
    def same(self) -> bool:
        """Whether both are of the same items, whose references may have been corrected."""
        return self.old is not None and self.old.ids == self.new.ids

    def registered(self) -> Interval | None:
        """The champion's figure at registration, of its own seed; else the mean over its seeds."""
        if self.then is not None:
            return interval(self.then, self.metric, self.judge)
        if self.before.found.metric != self.metric.name:
            return None
        mean, low, high = (float(self.before.scored[name]) for name in ("mean", "low", "high"))
        return Interval(mean, low, high, 0.0)

    def difference(self, now: Interval, then: Interval) -> Figures:
        """Gain on then: paired where the items are the same."""
        if self.same and self.then is not None:
            return paired(self.now, self.then, self.metric, self.judge).numbers()
        return apart(now, then, self.metric.better)

    def slices(self) -> list[Figures]:
        """Compare on each slice that is large enough now and then; the worst is first."""
        inside = _places(self.new, self.task, self.judge)
        if self.same and self.then is not None:
            rows = by_slice(inside, self.now, self.then, self.metric, self.judge)
            rows = [row | {"now": row["a"], "then": row["b"]} for row in rows]
        else:
            rows = self._apart(inside)
        for row in rows:
            row["verdict"] = WORDS[row["verdict"]] if "verdict" in row else None
        return sorted(rows, key=lambda row: row.get("difference") or 0)

    def _apart(self, inside: Mapping[str, Mapping[str, Sequence[int]]]) -> list[Figures]:
        """Intervals by Bonferroni, so that all of them hold together."""
        old = _places(self.old, self.task, self.judge) if self.old else {}
        named = [(kind, name, at) for kind, of in inside.items() for name, at in of.items()]
        both = sum(name in old.get(kind, {}) for kind, name, _ in named)
        sure = 1 - (1 - self.judge.confidence) / max(1, both)
        judge = self.judge.model_copy(update={"confidence": sure})
        rows: list[Figures] = []
        for kind, name, at in named:
            now = interval(self.now[:, list(at)], self.metric, judge)
            row = {"kind": kind, "slice": name, "items": len(at), "now": rounded(now.value)}
            if self.then is not None and name in old.get(kind, {}):
                then = interval(self.then[:, list(old[kind][name])], self.metric, judge)
                found = apart(now, then, self.metric.better)
                row |= found | {"then": rounded(then.value), "verdict": _sign(found)}
            rows.append(row)
        return rows


def compared(
    then: tuple[Before, References | None],
    now: tuple[References, Sequence[Prediction]],
    task: Task,
    judge: Judge,
) -> Figures:
    """Score the champion now, compare it with its registration, and judge."""
    sides = Sides(then, now, task, judge)
    found = interval(sides.now, sides.metric, judge)
    registered = sides.registered()
    margin = rounded(registered.high - registered.low) if registered else None
    difference = sides.difference(found, registered) if registered else None
    return _metric(sides.metric) | {
        "confidence": judge.confidence,
        "registered": {"metric": then[0].found.metric, **then[0].scored},
        "now": _rounded(found),
        "then": _rounded(registered) if registered else None,
        "items": {"now": len(sides.new.ids), "then": len(then[0].said.ids)},
        "paired": sides.same,
        "difference": difference,
        "verdict": word(difference, margin),
        "margin": margin,
        "slices": sides.slices(),
    }


def apart(now: Interval, then: Interval, better: int) -> Figures:
    """The gain between scores on different items: an interval of two (MOVER, Zou and Donner 2008,
    doi:10.1002/sim.3095).
    """
    change = now.value - then.value
    low = change - hypot(now.value - now.low, then.high - then.value)
    high = change + hypot(now.high - now.value, then.value - then.low)
    ends = (low, high) if better > 0 else (-high, -low)
    return {
        "difference": rounded(better * change),
        "low": rounded(ends[0]),
        "high": rounded(ends[1]),
    }


def word(difference: Mapping[str, Any] | None, margin: float | None) -> str:
    """Say better, worse, steady or inconclusive.

    steady: a fall larger than the margin, the width of the registered interval, is ruled out.
    """
    if difference is None or margin is None:
        return "inconclusive"
    said = WORDS[_sign(difference)]
    if said == "inconclusive" and difference["low"] >= -margin:
        return "steady"
    return said


def _sign(difference: Mapping[str, Any]) -> str:
    if difference["low"] > 0:
        return "promote"
    return "refuse" if difference["high"] < 0 else "inconclusive"


def _places(references: References, task: Task, judge: Judge) -> dict[str, dict[str, list[int]]]:
    examples = references.examples
    return places(examples, kinds_for(examples, task.slices), judge.min_slice)


def _predictions(before: Before, references: References, made: Sequence[Prediction]) -> Predictions:
    said = before.said
    sure = np.array([[one.confidence for one in made]])
    values = [[one.value for one in made]]
    return Predictions(said.recipe, said.about, references.ids, said.seeds, values, sure)


def _metric(metric: Metric) -> Figures:
    return {
        "metric": metric.name,
        "metric_title": metric.title,
        "lower_is_better": metric.better < 0,
    }


def _rounded(found: Interval) -> Figures:
    return {name: rounded(value) for name, value in asdict(found).items()}
