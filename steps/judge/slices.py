"""Slices: the score on parts of the items, for a mean can hide where a candidate fails."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.core.params import choose
from steps.judge.bootstrap import point
from steps.judge.metrics import ONE_LABEL, Metric
from steps.judge.values import Array, rounded

SHORT_WORDS, MEDIUM_WORDS = 12, 25
UNKNOWN = "unknown_tokens"  # a kind, and the name under which an example has its slice of it


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


def _unknown_tokens(example: Mapping[str, Any]) -> str:
    if UNKNOWN not in example:
        raise StepError(
            f"slice {UNKNOWN!r} is made of examples that a tokenizer has read (profile.start in"
            " params.yaml); take another here"
        )
    return str(example[UNKNOWN])


KINDS = {
    "source": _source,
    "length": _length,
    "label": _label,
    "language": _language,
    "contamination": _contamination,
    UNKNOWN: _unknown_tokens,
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


def check_kind(kind: str, task: str, where: str, columns: Collection[str] = ()) -> None:
    """StepError where a task of that type, whose reader keeps `columns`, has no such slices."""
    _check_name(kind, columns, where)
    if kind == "label" and task not in ONE_LABEL:
        raise StepError(
            f"{where}: label is for tasks with one label an example ({', '.join(ONE_LABEL)}); for "
            f"{task} take source, length or language"
        )


def _check_name(kind: str, columns: Collection[str], where: str) -> None:
    known = dict.fromkeys([*KINDS, *columns])
    choose(kind, known, f"kind of slice, or column that the reader keeps ({where}),")
    if kind in KINDS and kind in columns:
        raise StepError(
            f"{where}: {kind!r} is a kind of slice, and a column that the reader keeps; call the"
            " column otherwise in the task's options"
        )


def slice_values(example: Mapping[str, Any], kind: str) -> str:
    """Name the slice of that kind, or by that column, that an example is in."""
    columns = example.get("columns") or {}
    if kind in KINDS and kind not in columns:
        return KINDS[kind](example)
    _check_name(kind, columns, "in params.yaml, tasks")
    return str(columns[kind])


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
