"""What the gate has to know: challenger and champion on the current test set, paired by item."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.gate import Difference, Facts
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.files import read_json
from steps.core.params import Params, choose
from steps.judge.bootstrap import paired, point, verdict
from steps.judge.load import Predictions, References, read_predictions, read_references
from steps.judge.metrics import Array, Metric, metric_for
from steps.judge.slices import slices

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
    metric = metric_for(section.metric, references.kind)
    sides = [challenger, *([champion] if champion else [])]
    comparison = read_json(challenger.evidence / "comparison.json")
    facts = Facts(
        recipe=challenger.version.recipe,
        metric=section.metric,
        score=point(_statistics([challenger], references, metric)[0], metric),
        data_valid=bool(read_json(challenger.evidence / "validation.json")["success"]),
        baseline=_against_baseline(comparison),
        champion=None,
    )
    if champion is None:
        return facts
    try:
        counts = _statistics(sides, references, metric)
    except StepError as error:  # such as a label that the task no longer has
        return replace(facts, champion=f"it cannot be compared: {error}")
    found = paired(counts[0], counts[1], metric, params.judge)
    scores = [
        _slices(references, section.slices, count, metric, params.judge.min_slice)
        for count in counts
    ]
    return replace(
        facts,
        champion=Difference(verdict(found), found.difference, found.low, found.high),
        slices={name: (scores[0][name], scores[1][name]) for name in scores[0]},
    )


def _against_baseline(comparison: dict[str, object]) -> Difference | None:
    found = comparison["verdict"]
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

    texts = [str(example["text"]) for example in references.examples]
    made = load_predictor(side.bundle).predictions(texts)
    sure = np.array([[one.confidence for one in made]])
    return Predictions(
        said.recipe, said.about, references.ids, [seed], [[one.value for one in made]], sure
    )


def _slices(
    references: References, kinds: list[str], counts: Array, metric: Metric, min_items: int
) -> dict[str, float]:
    found = slices(references.examples, kinds, counts, metric, min_items)
    return {
        f"{kind} {name}": score["score"]
        for kind, inside in found.items()
        for name, score in inside.items()
    }
