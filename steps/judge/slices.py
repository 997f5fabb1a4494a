"""Slices: the score on parts of the items, for a mean can hide where a candidate fails."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.core.params import choose
from steps.judge.bootstrap import point, rounded
from steps.judge.metrics import ONE_LABEL, Metric
from steps.judge.values import Array

SHORT_WORDS, MEDIUM_WORDS = 12, 25


def _source(example: Mapping[str, Any]) -> str:
    return str(example["source"])


def _length(example: Mapping[str, Any]) -> str:
    words = len(example["text"].split())
    if words <= SHORT_WORDS:
        return "short"
    return "medium" if words <= MEDIUM_WORDS else "long"


def _label(example: Mapping[str, Any]) -> str:
    if "label" not in example:
        raise StepError(
            "slice 'label' (in params.yaml, tasks) is for examples with one label each; take"
            " source, length or language"
        )
    return str(example["label"])


def _language(example: Mapping[str, Any]) -> str:
    return str(example.get("language") or "unknown")


def _contamination(example: Mapping[str, Any]) -> str:
    return "contaminated" if example.get("contaminated") else "clean"


KINDS = {
    "source": _source,
    "length": _length,
    "label": _label,
    "language": _language,
    "contamination": _contamination,
}


def halves(examples: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Places of the clean examples and of those that training has; none where all are clean."""
    found: dict[str, list[int]] = {"clean": [], "contaminated": []}
    for place, example in enumerate(examples):
        found[_contamination(example)].append(place)
    return found if found["contaminated"] else {}


def kinds_for(examples: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> list[str]:
    """Add the kind `contamination` where some examples are contaminated."""
    return list(dict.fromkeys([*kinds, *(["contamination"] if halves(examples) else [])]))


def check_kind(kind: str, task: str, where: str) -> None:
    """StepError where a task of that type has no slices of that kind."""
    choose(kind, KINDS, f"slice ({where})")
    if kind == "label" and task not in ONE_LABEL:
        raise StepError(
            f"{where}: label is for tasks with one label an example ({', '.join(ONE_LABEL)}); for "
            f"{task} take source, length or language"
        )


def slice_values(example: Mapping[str, Any], kind: str) -> str:
    """Name the slice of that kind that an example is in; StepError for a kind that is not."""
    return choose(kind, KINDS, "slice (in params.yaml, tasks)")(example)


def places(
    examples: Sequence[Mapping[str, Any]], kinds: Sequence[str], min_items: int
) -> dict[str, dict[str, list[int]]]:
    """Return kind -> slice -> positions of its examples; slices under `min_items` are left out."""
    found: dict[str, dict[str, list[int]]] = {kind: {} for kind in kinds}
    for kind, inside in found.items():
        for place, example in enumerate(examples):
            inside.setdefault(slice_values(example, kind), []).append(place)
    return {
        kind: {name: at for name, at in sorted(inside.items()) if len(at) >= min_items}
        for kind, inside in found.items()
    }


def slices(
    examples: Sequence[Mapping[str, Any]],
    kinds: Sequence[str],
    counts: Array,
    metric: Metric,
    min_items: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """Return kind -> slice -> {items, score}; `counts` is (seeds, items, k), by metrics.stack."""
    return {
        kind: {
            name: {"items": len(at), "score": rounded(point(counts[:, np.array(at)], metric))}
            for name, at in inside.items()
        }
        for kind, inside in places(examples, kinds, min_items).items()
    }
