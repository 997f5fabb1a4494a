"""`outplant compare`: is B better than A? For anyone's files, by the judge of the workflow."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines.prediction_files import Side, Truth, read_side, read_truth
from steps.core.entry import StepError
from steps.core.params import Judge, choose
from steps.judge.bootstrap import NOTHING, Interval, Paired, Resamples, verdict
from steps.judge.metrics import METRICS, Metric, stack
from steps.judge.significance import by_slice, mcnemar
from steps.judge.values import Array, rounded
from steps.judge.wording import settled, signed, span

JUDGE = Judge(resamples=10_000, confidence=0.95, min_slice=20, seed=11)
SHOWN = {"promote": "better", "refuse": "worse", "inconclusive": "not shown"}


@dataclass(frozen=True)
class Found:
    """What came of it; `slices` rows are as comparison.json has them, `exact` is McNemar's."""

    metric: Metric
    items: int
    seeds: tuple[int, int]
    scores: tuple[Interval, Interval]
    paired: Paired
    exact: dict[str, float] | None
    slices: list[dict[str, Any]]

    @property
    def verdict(self) -> str:
        """A slice that is shown worse, by Holm over all of them, refuses the rest."""
        said = verdict(self.paired)
        worse = said == "promote" and any(row["verdict"] == "refuse" for row in self.slices)
        return "refuse" if worse else said

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        sides = [
            {"mean": rounded(s.value), "low": rounded(s.low), "high": rounded(s.high), "seeds": n}
            for s, n in zip(self.scores, self.seeds, strict=True)
        ]
        named = {"verdict": self.verdict, "metric": self.metric.name, "items": self.items}
        named |= {"a": sides[0], "b": sides[1], **self.paired.numbers()}
        return named | {"mcnemar": self.exact, "slices": self.slices}


def compare(references: Path, a: str, b: str, metric: str, column: str | None = None) -> Found:
    """Hold predictions B against predictions A on the same references; `column` names slices."""
    measure = choose(metric, METRICS, "metric")
    truth = read_truth(references, measure)
    sides = [read_side(said, truth) for said in (a, b)]
    if measure.name == "perplexity":
        _check_losses(sides)
    labels = _labels(truth, sides)
    old, new = (stack(measure, truth.values, side.values, labels) for side in sides)
    drawn = Resamples({"a": old, "b": new}, measure, JUDGE)
    exact = mcnemar(new, old, measure)
    return Found(
        measure,
        len(truth.ids),
        (len(old), len(new)),
        (drawn.interval("a"), drawn.interval("b")),
        NOTHING if np.array_equal(old, new) else drawn.paired("b", "a"),
        exact and dict(zip(("only_b", "only_a", "p"), exact, strict=True)),
        _slices(truth, old, new, measure, column) if column else [],
    )


def _check_losses(sides: Iterable[Side]) -> None:
    for side in sides:
        for at, said in enumerate((one for values in side.values for one in values), 1):
            if not {"loss", "words"} <= said.keys():
                raise StepError(
                    f"{side.name}: prediction {at} has no `loss` and `words`, which make"
                    " perplexity; give both, or take rouge_l"
                )


def _labels(truth: Truth, sides: Iterable[Side]) -> list[str]:
    """All labels that are said anywhere; none where values are no labels."""
    if truth.kind not in ("classification", "sentiment", "pairs", "multilabel"):
        return []
    said = [truth.values, *(values for side in sides for values in side.values)]
    return sorted({label for values in said for value in values for label in _listed(value)})


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def _slices(
    truth: Truth, old: Array, new: Array, metric: Metric, column: str
) -> list[dict[str, Any]]:
    if column not in truth.rows[0]:
        there = ", ".join(truth.rows[0])
        raise StepError(f"{truth.path} has no column {column!r} for slices; it has: {there}")
    inside: dict[str, list[int]] = {}
    for place, row in enumerate(truth.rows):
        inside.setdefault(str(row.get(column)), []).append(place)
    large = {name: at for name, at in sorted(inside.items()) if len(at) >= JUDGE.min_slice}
    if not large:
        raise StepError(f"no slice by {column!r} has {JUDGE.min_slice} items; take another column")
    rows = by_slice({column: large}, new, old, metric, JUDGE)
    return [row | {"a": row["b"], "b": row["a"]} for row in rows]  # as they are called here


def show(found: Found, out: TextIO) -> None:
    """Print the scores, the slices, and a sentence that ends in the verdict."""
    console = Console(file=out, highlight=False)
    table = Table(title=f"{found.metric.title} on {found.items:,} items", title_justify="left")
    for name in ("", "seeds", "score", f"{JUDGE.confidence:.0%} interval"):
        table.add_column(name)
    for name, one, seeds in zip("AB", found.scores, found.seeds, strict=True):
        table.add_row(name, str(seeds), f"{one.value:.3f}", f"[{one.low:.3f}, {one.high:.3f}]")
    console.print(table)
    if found.slices:
        console.print(_sliced(found))
    for line in sentences(found):
        console.print(line, soft_wrap=True)


def _sliced(found: Found) -> Table:
    table = Table("slice", "items", "A", "B", "B - A", "p (Holm)", "B is")
    for row in found.slices:
        difference = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        cells = [row["slice"], str(row["items"]), f"{row['a']:.3f}", f"{row['b']:.3f}"]
        table.add_row(*cells, difference, _p(row["p_holm"])[2:], SHOWN[row["verdict"]])
    return table


def sentences(found: Found) -> list[str]:
    """Say what is shown, and what it would take."""
    one, lower = found.paired, found.metric.better < 0
    turned = " (a gain, for lower is better)" if lower and one.difference > 0 else ""
    lines = [
        f"B against A: {signed(one.difference)}{turned}, {span(one.numbers(), JUDGE.confidence)}; "
        f"{_p(one.p)}, probability that B is better {min(one.probability_better, 0.999):.1%}"
    ]
    if one == NOTHING:
        return ["the scores are the same item by item", f"verdict: {found.verdict}"]
    if found.exact:
        lines.append(
            f"right in B alone {found.exact['only_b']:g}, in A alone {found.exact['only_a']:g}: "
            f"exact McNemar {_p(found.exact['p'])} (of items alone, whatever seeds do)"
        )
    lines.append(f"this set finds a difference of {one.detectable:.3f} 8 times in 10")
    worse = [row["slice"] for row in found.slices if row["verdict"] == "refuse"]
    if worse:
        lines.append(f"shown worse on: {', '.join(worse)}")
    if verdict(one) == "inconclusive":
        lines.append(settled(one.numbers()))
    return [*lines, f"verdict: {found.verdict}"]


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
