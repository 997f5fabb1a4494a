"""Strategy `baseline`: a plain way to do a task without a pretrained model, the mark a candidate
must beat. Each is described, with its source, in steps.transfer.plain.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.core.params import Section
from steps.tasks import Item, task_type
from steps.transfer.strategies import Material, Reading, Scorer

READS_START = False
METHODS = {  # an output -> its methods; `auto` takes the first that fits the task
    "classes": ("linear", "crf", "lexicon", "majority"),
    "labels": ("linear", "majority"),
    "number": ("linear", "majority"),
    "span": ("nearest", "majority"),
    "text": ("nearest", "lead", "copy", "majority"),
    "vector": ("nearest", "majority"),
}
FOR_WORDS = ("crf", "lexicon")
FIRST = {"summarisation": "lead"}  # a task type -> what `auto` takes, where it is another
MEMORISING = ("linear", "crf", "nearest")  # they give back what a text had in training
OUTPUTS = tuple(METHODS)


class Settings(Section):
    """`method`: auto takes the first that fits. `inverse_regularisation`: of linear and crf."""

    strategy: Literal["baseline"]
    start: str
    method: Literal["auto", "linear", "crf", "majority", "lexicon", "lead", "copy", "nearest"] = (
        "auto"
    )
    inverse_regularisation: float = Field(10.0, gt=0)


def seeded(settings: Settings) -> bool:
    return False


def method_for(kind: str, method: str = "auto") -> str:
    """The method that a task type gets; StepError where it has no such."""
    module = task_type(kind)
    able = METHODS[module.OUTPUT]
    if getattr(module, "LEVEL", "text") == "text":
        able = tuple(name for name in able if name not in FOR_WORDS)
    if method == "auto":
        return FIRST.get(kind, able[0])
    if method not in able:
        raise StepError(
            f"method {method!r} does nothing for a task of type {kind}; take auto, or one of"
            f" {', '.join(able)}, or name other `tasks` in the recipe"
        )
    return method


def memorises(kind: str, method: str = "auto") -> bool:
    """Whether it gives the examples that it was trained on their own values again."""
    chosen, output = method_for(kind, method), task_type(kind).OUTPUT
    return chosen in MEMORISING and output not in ("span", "vector")


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    method = method_for(material.task, settings.method)
    if not material.examples:
        raise StepError("no training examples; expected at least one")
    made = _plain(material.task, method).fit(material, settings.inverse_regularisation)
    out.mkdir(parents=True, exist_ok=True)
    made.save(out)
    write_json(out / "baseline.json", {"type": material.task, "method": method})
    return {"method": method}


def load(start: Path, weights: Path) -> Scorer:
    about = read_json(weights / "baseline.json")
    made = _plain(about["type"], about["method"]).load(weights, task_type(about["type"]))

    def score(reading: Reading, items: list[Item]) -> list[Any]:
        found: list[Any] = made.raws(items)
        return found

    return score


def _plain(kind: str, method: str) -> Any:
    from steps.transfer.plain import answers, texts, units, vectors

    module = {
        "span": answers,
        "text": texts,
        "vector": vectors,
    }.get(task_type(kind).OUTPUT, units)
    return getattr(module, method.title())
