"""What the gate has to know: challenger, champion and baseline on the current test set, by item."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.gate import Difference, Facts, Source
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.files import read_json
from steps.core.params import Judge, Params, choose
from steps.judge.bootstrap import paired, point, verdict
from steps.judge.load import Predictions, References, read_predictions, read_references
from steps.judge.metrics import Metric, metric_for
from steps.judge.significance import by_slice
from steps.judge.slices import halves, kinds_for, places
from steps.judge.unknown import read_by
from steps.judge.values import Array

SPLITS = Path("data/splits")
PREDICTIONS = Path("predictions")
Pair = tuple[Array, Array]  # (seeds, items, k) counts of a challenger and of a rival
COSTS = {"ece": ("ece_scaled", "ece"), "latency_ms": ("latency_ms_p95",), "megabytes": ("bytes",)}


@dataclass(frozen=True)
class Side:
    """A version and the local folders of what was registered with it."""

    version: Version
    bundle: Path
    evidence: Path


@dataclass(frozen=True)
class Bench:
    """The current test set, and by what is judged on it; `kinds` are the task's slices."""

    references: References
    metric: Metric
    judge: Judge
    kinds: list[str] = field(default_factory=list)

    @cached_property
    def clean(self) -> list[int] | None:
        """Places of the test items that training does not have; None where it has none at all."""
        return halves(self.references.examples).get("clean")

    @property
    def everywhere(self) -> list[int]:
        return list(range(len(self.references.ids)))

    def difference(self, a: Array, b: Array, at: Sequence[int]) -> Difference:
        """Compare two sides' (seeds, items, k) counts on some of the items."""
        found = paired(a[:, at], b[:, at], self.metric, self.judge)
        return Difference(verdict(found), found.difference, found.low, found.high)

    def slices(self, a: Array, b: Array) -> dict[str, Difference]:
        """Compare two sides on each slice that is large enough; verdicts by Holm."""
        examples = self.references.examples
        inside = places(examples, kinds_for(examples, self.kinds), self.judge.min_slice)
        return {
            f"{row['kind']} {row['slice']}": Difference(
                row["verdict"], row["difference"], row["low"], row["high"]
            )
            for row in by_slice(inside, a, b, self.metric, self.judge)
        }


def gather(params: Params, challenger: Side, champion: Side | None) -> Facts:
    """Read what was registered with both; a bundle predicts anew where the test set has changed."""
    task = challenger.version.task
    section = choose(task, params.tasks, "task")
    references = read_references(SPLITS / task, "test")
    references = read_by(references, section.slices, Path(params.profile.start))
    metric = metric_for(section.metric, references.kind)
    bench = Bench(references, metric, params.judge, section.slices)
    own = _statistics([challenger], bench)[0]
    facts = _alone(challenger, bench, own)
    baseline = _baseline(params.gate.baseline, challenger, bench, own)
    rivals: dict[str, Any] = {"baseline": baseline}
    slices: dict[str, Difference] = {}
    pair = _pair(challenger, champion, bench) if champion else None
    rivals["champion"] = pair
    if isinstance(pair, tuple):
        slices = bench.slices(*pair)
    return _compared(replace(facts, slices=slices), bench, own, rivals)


def _alone(challenger: Side, bench: Bench, own: Array) -> Facts:
    """What is known without a rival."""
    version = challenger.version
    comparison = read_json(challenger.evidence / "comparison.json")
    scores = comparison["candidates"][version.recipe]
    costs = {
        name: next((scores[key] for key in keys if scores.get(key) is not None), None)
        for name, keys in COSTS.items()
    }
    if costs["megabytes"] is not None:
        costs["megabytes"] /= 1e6
    items = len(bench.references.ids)
    return Facts(
        task=version.task,
        recipe=version.recipe,
        metric=bench.metric.name,
        better=bench.metric.better,
        score=point(own, bench.metric),
        data_valid=bool(read_json(challenger.evidence / "validation.json")["success"]),
        baseline=None,
        champion=None,
        costs=costs,
        leakage=0.0 if bench.clean is None else 1 - len(bench.clean) / items,
        source=Source(version.commit, tuple(version.dirty)),
    )


def _compared(facts: Facts, bench: Bench, own: Array, rivals: dict[str, Any]) -> Facts:
    """Add the differences from the rivals on all items and, where some are not, on clean ones."""

    def on(at: Sequence[int]) -> dict[str, Any]:
        return {
            name: bench.difference(found[0], found[1], at) if isinstance(found, tuple) else found
            for name, found in rivals.items()
        }

    whole, clean = replace(facts, **on(bench.everywhere)), bench.clean
    if clean is None:
        return whole
    if len(clean) < bench.judge.min_slice:
        said = f"{len(clean)} of {len(bench.references.ids)}, fewer than judge.min_slice"
        return replace(whole, clean=said)
    apart = replace(facts, score=point(own[:, clean], bench.metric), slices={}, **on(clean))
    return replace(whole, clean=apart)


def _baseline(name: str, challenger: Side, bench: Bench, own: Array) -> Pair | str | None:
    """Counts of challenger and baseline; a text where they cannot be had, None if it is itself.

    The one it was compared with, or where the test set has changed since, the one that is here.
    """
    if challenger.version.recipe == name:
        return None
    for folder in (challenger.evidence / "baseline", PREDICTIONS / challenger.version.task / name):
        if not (folder / "candidate.json").exists():
            continue
        said = read_predictions(folder, "test")
        if said.recipe == name and said.ids == bench.references.ids:
            return own, said.statistics(bench.references, bench.metric)
    return f"nowhere its predictions of the {len(bench.references.ids)} test items; run `dvc repro`"


def _pair(challenger: Side, champion: Side, bench: Bench) -> Pair | str:
    """Counts of challenger and champion; a text where they cannot be had."""
    try:
        ours, theirs = _statistics([challenger, champion], bench)
    except StepError as error:  # such as a label that the task no longer has
        return f"it cannot be compared: {error}"
    return ours, theirs


def _statistics(sides: Sequence[Side], bench: Bench) -> list[Array]:
    """Return the (seeds, items, k) counts of each side.

    All seeds of both, where their registered predictions are of these very items; else of each the
    one seed that is in its bundle, like with like.
    """
    said = [read_predictions(side.evidence, "test") for side in sides]
    if any(one.ids != bench.references.ids for one in said):
        pairs = zip(sides, said, strict=True)
        said = [_of_bundle(side, one, bench.references) for side, one in pairs]
    return [one.statistics(bench.references, bench.metric) for one in said]


def _of_bundle(side: Side, said: Predictions, references: References) -> Predictions:
    """Return the predictions of the bundle's own seed, made now where they are not at hand."""
    seed = side.version.seed
    if said.ids == references.ids:
        at = said.seeds.index(seed)
        return replace(
            said, seeds=[seed], values=[said.values[at]], confidences=said.confidences[at : at + 1]
        )
    from steps.transfer.checkpoints import load_predictor

    made = load_predictor(side.bundle).predictions(references.examples)
    sure = np.array([[one.confidence for one in made]])
    return Predictions(
        said.recipe, said.about, references.ids, [seed], [[one.value for one in made]], sure
    )
