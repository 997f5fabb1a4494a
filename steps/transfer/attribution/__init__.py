"""What a model went by in one answer: how much each piece of the text raised or lowered a score.

Networks by integrated gradients or by attention (steps.transfer.attribution.gradients), linear
models of words exactly (steps.transfer.attribution.weights). Nothing else tells.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from steps.core.files import read_json
from steps.core.params import Explain
from steps.core.progress import track
from steps.tasks import Item, task_type

LINEAR = ("linear", "crf")  # methods of strategy `baseline` that weigh words
UPRIGHT = ("xlnet",)  # types of model whose embeddings are (tokens, rows, width)
DECIMALS = 4


@dataclass(frozen=True)
class Question:
    """Why the item's `label` has the score that it has; `span`: where in the text, in characters,
    None for all of it. Where a type has no labels, the label is a name for what is explained.
    """

    item: Item
    label: str
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Mark:
    """The characters `start` to `end` of a field of the item, and what they add to the score."""

    field: str
    start: int
    end: int
    value: float


@dataclass(frozen=True)
class Explanation:
    """`completeness`: how far the marks' sum is from what they should add up to, as a share of all
    that is attributed; None where nothing need add up.
    """

    method: str
    marks: list[Mark]
    completeness: float | None


def unable(bundle: Path, settings: Explain) -> str:
    """Why the model of a bundle explains nothing, in one sentence; or nothing."""
    about = read_json(bundle / "candidate.json")
    if settings.method == "none":
        return "Explanations are turned off (explain.method in params.yaml)."
    if task_type(about["type"]).OUTPUT in ("text", "vector"):
        return f"A task of type {about['type']} chooses no label whose score could be explained."
    if (bundle / "network.json").exists():
        return _upright(bundle, settings)
    if _method(bundle) in LINEAR:
        return ""
    how = f"baseline by the method {_method(bundle)}" if _method(bundle) else about["strategy"]
    return f"The winner ({how}) gives no attributions: only networks and linear models of words do."


def _upright(bundle: Path, settings: Explain) -> str:
    kind = read_json(bundle / "config.json")["model_type"]
    if kind not in UPRIGHT or settings.method != "integrated_gradients":
        return ""
    return (
        f"Integrated gradients are not computed for a model of type {kind}, which embeds texts as"
        " columns, not rows; set explain.method to attention in params.yaml."
    )


def explain(bundle: Path, questions: list[Question], settings: Explain) -> list[Explanation]:
    """Answer each question by a bundle that is not `unable`; marks are scaled, the largest to 1."""
    if not questions:
        return []
    answer = _explainer(bundle, settings)
    asked = track(questions, "explaining errors", len(questions))
    return [_scaled(answer(question)) for question in asked]


def _explainer(bundle: Path, settings: Explain) -> Callable[[Question], Explanation]:
    if (bundle / "network.json").exists():
        from steps.transfer.attribution.gradients import Network

        return Network(bundle, settings)
    from steps.transfer.attribution.weights import Linear

    return Linear(bundle)


def _method(bundle: Path) -> str:
    file = bundle / "baseline.json"
    return str(read_json(file)["method"]) if file.exists() else ""


def _scaled(found: Explanation) -> Explanation:
    most = max((abs(mark.value) for mark in found.marks), default=0.0) or 1.0
    marks = [replace(m, value=round(m.value / most, DECIMALS) + 0.0) for m in found.marks]
    error = found.completeness
    return replace(found, marks=marks, completeness=error and round(error, DECIMALS))
