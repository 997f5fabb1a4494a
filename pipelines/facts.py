"""What the gate has to know: challenger and champion on the current test set, paired by item."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.gate import Difference, Facts
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.files import read_json
from steps.core.params import Params, choose
from steps.judge.bootstrap import Paired, paired, point, verdict
from steps.judge.load import Predictions, References, read_predictions, read_references
from steps.judge.metrics import Metric, metric_for
from steps.judge.slices import halves, kinds_for, slices
from steps.judge.unknown import read_by
from steps.judge.values import Array

SPLITS = Path("data/splits")


@dataclass(frozen=True)
class Side:
    """A version and the local folders of what was registered with it."""

    version: Version
    bundle: Path
    evidence: Path


def gather(params: Params, challenger: Side, champion: Side | None) -> Facts:
    """Read what was registered with both; a bundle predicts anew where the test set has changed."""
    task = challenger.version.task
    section = choose(task, params.tasks, "task")
    references = read_references(SPLITS / task, "test")
    references = read_by(references, section.slices, Path(params.profile.start))
    metric = metric_for(section.metric, references.kind)
    comparison = read_json(challenger.evidence / "comparison.json")
    own = _statistics([challenger], references, metric)[0]
    facts = Facts(
        recipe=challenger.version.recipe,
        metric=section.metric,
        better=metric.better,
        score=point(own, metric),
        data_valid=bool(read_json(challenger.evidence / "validation.json")["success"]),
        baseline=_against_baseline(comparison, comparison["verdict"]),
        champion=None,
    )
    clean = _clean_items(references)
    if clean is not None:
        few = len(clean) < params.judge.min_slice
        score = 0.0 if few else point(own[:, clean], metric)
        said = f"{len(clean)} of {len(references.ids)}, fewer than judge.min_slice"
        facts = replace(facts, clean=said if few else _on_clean(facts, comparison, score))
    return (
        _against_champion(facts, [challenger, champion], references, params) if champion else facts
    )


def _against_champion(
    facts: Facts, sides: list[Side], references: References, params: Params
) -> Facts:
    """Add the difference to the champion, by slice and on the clean items too."""
    section, clean = params.tasks[sides[0].version.task], _clean_items(references)
    metric = metric_for(section.metric, references.kind)
    try:
        counts = _statistics(sides, references, metric)
    except StepError as error:  # such as a label that the task no longer has
        why = f"it cannot be compared: {error}"
        if isinstance(facts.clean, Facts):
            facts = replace(facts, clean=replace(facts.clean, champion=why))
        return replace(facts, champion=why)
    if isinstance(facts.clean, Facts):
        on_clean = paired(counts[0][:, clean], counts[1][:, clean], metric, params.judge)
        facts = replace(facts, clean=replace(facts.clean, champion=_difference(on_clean)))
    scores = [
        _slices(references, section.slices, count, metric, params.judge.min_slice)
        for count in counts
    ]
    return replace(
        facts,
        champion=_difference(paired(counts[0], counts[1], metric, params.judge)),
        slices={name: (scores[0][name], scores[1][name]) for name in scores[0]},
    )


def _clean_items(references: References) -> list[int] | None:
    """Places of the test items that training does not have; None where it has none at all."""
    return halves(references.examples).get("clean")


def _on_clean(facts: Facts, comparison: dict[str, Any], score: float) -> Facts:
    """What is claimed, on the clean items: the baseline as it was compared with the challenger."""
    baseline: Difference | str | None = "the comparison knows of no clean items; run `dvc repro`"
    known = comparison.get("contamination")
    if facts.baseline is None:
        baseline = None
    elif known and known["clean"]:
        baseline = _against_baseline(comparison, known["clean"])
    return replace(facts, score=score, baseline=baseline)


def _difference(found: Paired) -> Difference:
    return Difference(verdict(found), found.difference, found.low, found.high)


def _against_baseline(comparison: dict[str, Any], found: Any) -> Difference | None:
    if comparison["winner"] == comparison["baseline"] or not isinstance(found, dict):
        return None
    return Difference(found["verdict"], found["difference"], found["low"], found["high"])


def _statistics(sides: Sequence[Side], references: References, metric: Metric) -> list[Array]:
    """Return the (seeds, items, k) counts of each side.

    All seeds of both, where their registered predictions are of these very items; else of each the
    one seed that is in its bundle, like with like.
    """
    said = [read_predictions(side.evidence, "test") for side in sides]
    if any(one.ids != references.ids for one in said):
        said = [_of_bundle(side, one, references) for side, one in zip(sides, said, strict=True)]
    return [one.statistics(references, metric) for one in said]


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


def _slices(
    references: References, kinds: list[str], counts: Array, metric: Metric, min_items: int
) -> dict[str, float]:
    kinds = kinds_for(references.examples, kinds)
    found = slices(references.examples, kinds, counts, metric, min_items)
    return {
        f"{kind} {name}": score["score"]
        for kind, inside in found.items()
        for name, score in inside.items()
    }
