"""Stage `split`: examples -> train, validation and test; no group and no text is in two of them.

    python -m steps.split TASK EXAMPLES OUT

Groups are drawn whole in an order that depends on the seed and their names: test first, then
validation, as few as the sizes need (the corpus loses them too) when none gives more than a
twentieth of its part, or than an average group has; the rest is for training. A text that stands in
groups of two parts stays in the first: joining such groups would let one stock phrase ("Fixed a
typo in the docs.") tie changelogs together without bound.

No label is looked at, save that training gets one example at least of each label it can: so a
corrected label in test or validation moves nothing.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import digest, read_rows, whole, write_json, write_rows
from steps.core.params import SplitParams
from steps.corpora.overlap import normalised
from steps.tasks import TASKS, task_type

Example = dict[str, Any]
Labels = Callable[[list[Example]], list[str]]
HELD_OUT = ("test", "validation")
GROUPS = 20  # a large group gives a twentieth of a part at most: one release note is no sample


def split(
    task: str, examples: list[Example], wanted: SplitParams, labels: Labels
) -> dict[str, list[Example]]:
    """Return the parts, each sorted by id; StepError where examples or labels do not suffice."""
    groups = _by_group(examples, wanted.seed)
    average = -(-len(examples) // max(len(groups), 1))
    parts: dict[str, list[Example]] = {}
    taken: set[str] = set()
    for part in HELD_OUT:
        size = getattr(wanted, part)
        drawn = _draw(groups, size, max(size // GROUPS, average), taken)
        parts[part] = _shuffled(drawn, wanted.seed)[:size]
        taken.update(normalised(example["text"]) for example in parts[part])
    rest = _fresh((example for group in groups for example in group), taken)
    parts["train"] = _cover(_shuffled(rest, wanted.seed), wanted.train, labels)
    _check_sizes(task, examples, parts, wanted)
    _check_labels(task, parts, labels)
    return {part: sorted(found, key=lambda e: e["id"]) for part, found in parts.items()}


def conflicts(examples: list[Example], reference: Callable[[Example], Any]) -> list[Example]:
    """List the texts that stand there more than once with different references."""
    same: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        same[normalised(example["text"])].append(example)
    found = []
    for key in sorted(same):
        said = {json.dumps(r) if not isinstance(r := reference(e), str) else r for e in same[key]}
        if len(said) > 1:
            found.append({"text": min(e["text"] for e in same[key]), "labels": sorted(said)})
    return found


def _by_group(examples: list[Example], seed: int) -> list[list[Example]]:
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in _shuffled(examples, seed):
        groups[example["group"]].append(example)
    return [groups[name] for name in sorted(groups, key=lambda name: _order(seed, name))]


def _draw(groups: list[list[Example]], size: int, most: int, taken: set[str]) -> list[Example]:
    """Take whole groups off the list until `most` of each make `size`, of texts not yet taken."""
    drawn: list[Example] = []
    while groups and len(drawn) < size:
        drawn += _fresh(groups.pop(0), taken)[:most]
    return drawn


def _shuffled(examples: Iterable[Example], seed: int) -> list[Example]:
    return sorted(examples, key=lambda example: _order(seed, example["id"]))


def _cover(examples: list[Example], size: int, labels: Labels) -> list[Example]:
    """Take the first examples, but those before them that bring a label not yet seen."""
    seen: set[str] = set()
    first: list[Example] = []
    later: list[Example] = []
    for example in examples:
        found = set(labels([example]))
        (first if found - seen else later).append(example)
        seen |= found
    return (first + later)[:size]


def _fresh(examples: Iterable[Example], taken: set[str]) -> list[Example]:
    return [example for example in examples if normalised(example["text"]) not in taken]


def _order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _check_sizes(
    task: str, examples: list[Example], parts: dict[str, list[Example]], wanted: SplitParams
) -> None:
    found = {part: len(parts[part]) for part in ("train", "validation", "test")}
    if any(n < getattr(wanted, part) for part, n in found.items()):
        asked = ", ".join(f"{part} {getattr(wanted, part)}" for part in found)
        given = ", ".join(f"{part} {n}" for part, n in found.items())
        raise StepError(
            f"task {task}: {len(examples)} examples in {len({e['group'] for e in examples})} groups"
            f" do not fill its split: expected {asked}, found {given}"
            f"; lower tasks.{task}.split in params.yaml or label more"
        )


def _check_labels(task: str, parts: dict[str, list[Example]], labels: Labels) -> None:
    seen = labels(parts["train"])
    for part in HELD_OUT:
        if unseen := sorted(set(labels(parts[part])) - set(seen)):
            ids = [e["id"] for e in parts[part] if set(labels([e])) & set(unseen)]
            raise StepError(
                f"task {task}: {part} has labels that training never saw: {', '.join(unseen)}"
                f" (ids {', '.join(ids[:3])}); training has {', '.join(seen)}; correct the labels,"
                f" label more examples of them, or raise tasks.{task}.split.train"
            )


def main(task: str, examples: Path, out: Path) -> None:
    """Divide the examples of TASK into three Parquet files and describe them in task.json."""
    settings = params.choose(task, params.load().tasks, "task")
    kind = task_type(settings.type)
    rows = read_rows(examples / "examples.parquet")
    schema = pq.read_schema(examples / "examples.parquet")
    parts = split(task, rows, settings.split, kind.labels)
    with whole(out) as folder:
        for part, found in parts.items():
            write_rows(folder / f"{part}.parquet", found, schema)
        card = {
            "task": task,
            "type": settings.type,
            "labels": sorted(kind.labels(parts["train"])),
            "counts": {part: len(found) for part, found in parts.items()},
            "conflicts": conflicts(rows, kind.reference),
            "code": digest(Path(TASKS[settings.type].replace(".", "/") + ".py")),
        }
        write_json(folder / "task.json", card)


if __name__ == "__main__":
    run(main)
