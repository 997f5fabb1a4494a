"""Stage `split`: examples -> train, validation and test; no group and no text is in two of them.

    python -m steps.split TASK EXAMPLES OUT

Groups are drawn whole in an order that depends on the seed and their names: test first, then
validation, as few as the sizes need (the corpus loses them too) when none gives more than a
twentieth of its part, or than an average group has; the rest is for training. A text that overlaps
one of an earlier part (`steps.corpora.matching`, by the settings of `decontaminate`) is left out:
joining such groups would let one stock phrase ("Fixed a typo in the docs.") tie changelogs together
without bound. But a text that stands there twice with other words marked, or with another question
or pair, is no copy: such twins become one group, as do the queries that find one passage. Of pairs
both texts together are held against others too, in either order; of retrieval the passages are.

No label is looked at, save that training gets one example at least of each label it can: so a
corrected label in test or validation moves nothing.

Where the split is given, the examples' own `split` decides and the sizes are upper bounds. Overlap
is reported then, not mended: the held-out examples that are `contaminated` say so.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import digest, read_rows, shards, whole, write_json, write_rows
from steps.core.params import SplitParams
from steps.corpora.matching import HELD_OUT, Match, Matcher, Rules, compare, count
from steps.corpora.overlap import normalised, unmarked
from steps.tasks import code, task_type

Example = dict[str, Any]
Parts = dict[str, list[Example]]
Labels = Callable[[list[Example]], list[str]]
Key = Callable[[Example], str]
View = tuple[str, ...]  # columns whose texts, as one, must not stand in two parts
TEXT: tuple[View, ...] = (("text",),)
VIEWS = {"pairs": (*TEXT, ("text", "pair")), "retrieval": (*TEXT, ("target",))}
PARTS = ("train", "validation", "test")
GROUPS = 20  # a large group gives a twentieth of a part at most: one release note is no sample
CONTAMINATED = pa.field("contaminated", pa.bool_(), nullable=False)


class Taken:
    """The held-out examples so far, and how many others were left out for being like them."""

    def __init__(self, rules: Rules, views: tuple[View, ...] = TEXT) -> None:
        self.rules, self.views, self.dropped = rules, views, 0
        self._matchers: list[tuple[View, Matcher]] = []

    def add(self, examples: list[Example]) -> None:
        """Hold these out."""
        for view in self.views:
            self._matchers.append((view, Matcher(_seen(examples, view), self.rules)))

    def others(self, examples: list[Example]) -> list[Example]:
        """Return the examples that overlap none of those held out."""
        found = [matcher.first(_seen(examples, view)) for view, matcher in self._matchers]
        others = [e for e, *hits in zip(examples, *found, strict=True) if not any(hits)]
        self.dropped += len(examples) - len(others)
        return others


def _seen(examples: list[Example], view: View) -> list[str]:
    """The texts of a view's columns; of two the order is that of their letters."""
    return ["\n\n".join(sorted(example[name] for name in view)) for example in examples]


def split(
    task: str, examples: list[Example], wanted: SplitParams, labels: Labels, taken: Taken
) -> Parts:
    """Return the parts, each sorted by id; StepError where examples or labels do not suffice."""
    if wanted.given:
        parts = _given(task, examples, wanted, labels, taken)
    else:
        parts = _own(examples, wanted, labels, taken)
        _check_sizes(task, examples, parts, wanted)
    _check_labels(task, parts, labels)
    return {part: sorted(found, key=lambda e: e["id"]) for part, found in parts.items()}


def _own(examples: list[Example], wanted: SplitParams, labels: Labels, taken: Taken) -> Parts:
    groups = _by_group(join_twins(examples), wanted.seed)
    average = -(-len(examples) // max(len(groups), 1))
    parts: Parts = {}
    for part in HELD_OUT:
        size = getattr(wanted, part)
        drawn = _draw(groups, size, max(size // GROUPS, average), taken)
        parts[part] = _shuffled(drawn, wanted.seed)[:size]
        taken.add(parts[part])
    rest = taken.others([example for group in groups for example in group])
    parts["train"] = _cover(_shuffled(rest, wanted.seed), wanted.train, labels)
    return parts


def _given(
    task: str, examples: list[Example], wanted: SplitParams, labels: Labels, taken: Taken
) -> Parts:
    """Divide as the examples say; a validation part that is not given is drawn from training."""
    said: Parts = {part: [] for part in PARTS}
    for example in examples:
        if (part := example.get("split") or "train") not in said:
            raise StepError(
                f"task {task}: example {example['id']} has split {part!r}; expected one of:"
                f" {', '.join(PARTS)}; correct it, or set tasks.{task}.split.given to false"
            )
        said[part].append(example)
    if not said["validation"]:
        groups = _by_group(join_twins(said["train"]), wanted.seed)
        _check_groups(task, groups)
        size = min(wanted.validation, len(said["train"]) // 2)
        drawn = _draw(groups, size, max(1, size), taken)
        said |= {"validation": drawn, "train": [e for group in groups for e in group]}
    if short := [part for part in PARTS if not said[part]]:
        found = ", ".join(f"{part} {len(said[part])}" for part in PARTS)
        raise StepError(
            f"task {task}: its split is given, but nothing is there for {', '.join(short)} (found"
            f" {found}); name the files by their part (test.csv), give the reader a split column,"
            f" or set tasks.{task}.split.given to false"
        )
    parts = {p: _shuffled(said[p], wanted.seed)[: getattr(wanted, p)] for p in HELD_OUT}
    return parts | {"train": _cover(_shuffled(said["train"], wanted.seed), wanted.train, labels)}


def join_twins(examples: list[Example]) -> list[Example]:
    """Give one group to examples of one text that differ in what is marked in it or asked of it."""
    return _joined(examples, lambda e: unmarked(e["text"]), _said)


def join_queries(examples: list[Example]) -> list[Example]:
    """Give one group to the queries that find one passage."""
    return _joined(examples, lambda e: normalised(e["target"]), lambda e: e["id"])


def _joined(examples: list[Example], same: Key, other: Key) -> list[Example]:
    """Give one group to examples of the same key that differ in the other one."""
    alike: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        alike[same(example)].append(example)
    group_of: dict[str, str] = {}
    for twins in alike.values():
        if len({other(example) for example in twins}) > 1:
            group = min(example["group"] for example in twins)
            group_of |= {example["id"]: group for example in twins}
    return [e | {"group": group_of.get(e["id"], e["group"])} for e in examples]


def _said(example: Example) -> str:
    asked = [example.get(name) for name in ("spans", "question", "pair")]
    return json.dumps([normalised(example["text"]), asked])


def contamination(
    parts: Parts, rules: Rules, views: tuple[View, ...] = TEXT
) -> dict[str, dict[str, int]]:
    """Mark the held-out examples that training has; count them by level."""
    ids = [example["id"] for example in parts["train"]]
    counts = {}
    for part in HELD_OUT:
        found: list[list[Match | None]] = []
        for view in views:
            train = zip(ids, _seen(parts["train"], view), strict=True)
            found.append(compare(train, _seen(parts[part], view), rules))
        matches = [min(filter(None, hits), default=None) for hits in zip(*found, strict=True)]
        for example, match in zip(parts[part], matches, strict=True):
            example["contaminated"] = match is not None
        counts[part] = count(matches)
    return counts


def conflicts(examples: list[Example], reference: Callable[[Example], Any]) -> list[Example]:
    """List the texts of which the same is asked more than once, with different references."""
    same: defaultdict[tuple[str, ...], list[Example]] = defaultdict(list)
    for example in examples:
        asked = [normalised(example.get(name) or "") for name in ("text", "pair", "question")]
        same[*asked, example.get("language") or ""].append(example)
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


def _draw(groups: list[list[Example]], size: int, most: int, taken: Taken) -> list[Example]:
    """Take whole groups off the list until `most` of each make `size`, of texts not held out."""
    drawn: list[Example] = []
    while groups and len(drawn) < size:
        drawn += taken.others(groups.pop(0))[:most]
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


def _order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _check_sizes(task: str, examples: list[Example], parts: Parts, wanted: SplitParams) -> None:
    found = {part: len(parts[part]) for part in PARTS}
    if any(n < getattr(wanted, part) for part, n in found.items()):
        asked = ", ".join(f"{part} {getattr(wanted, part)}" for part in found)
        given = ", ".join(f"{part} {n}" for part, n in found.items())
        raise StepError(
            f"task {task}: {len(examples)} examples in {len({e['group'] for e in examples})} groups"
            f" do not fill its split: expected {asked}, found {given}"
            f"; lower tasks.{task}.split in params.yaml or label more"
        )


def _check_groups(task: str, groups: list[list[Example]]) -> None:
    if len(groups) == 1 and len(groups[0]) > 1:
        raise StepError(
            f"task {task}: no validation examples are given, and all training examples are one"
            f" group ({groups[0][0]['group']}), which is never torn apart; give a validation part,"
            " or the examples a finer group"
        )


def _check_labels(task: str, parts: Parts, labels: Labels) -> None:
    seen = labels(parts["train"])
    for part in HELD_OUT:
        if unseen := sorted(set(labels(parts[part])) - set(seen)):
            ids = [e["id"] for e in parts[part] if set(labels([e])) & set(unseen)]
            raise StepError(
                f"task {task}: {part} has labels that training never saw: {', '.join(unseen)}"
                f" (ids {', '.join(ids[:3])}); training has {', '.join(seen)}; correct the labels,"
                f" label more examples of them, or raise tasks.{task}.split.train"
            )


def _schema(schema: pa.Schema, part: str) -> pa.Schema:
    """What a part holds: columns for slices are test's alone, so that one more retrains nothing."""
    place = schema.get_field_index("columns") if part != "test" else -1
    schema = schema.remove(place) if place >= 0 else schema
    return schema.append(CONTAMINATED) if part in HELD_OUT else schema


def main(task: str, examples: Path, out: Path) -> None:
    """Divide the examples of TASK into three Parquet files and describe them in task.json."""
    settings = params.choose(task, params.load().tasks, "task")
    rules = Rules(**params.load().decontaminate.model_dump())
    kind = task_type(settings.type)
    rows = read_rows(examples / "examples")
    if settings.type == "retrieval":
        rows = join_queries(rows)
    schema = pq.read_schema(shards(examples / "examples")[0]).remove_metadata()
    taken = Taken(rules, VIEWS.get(settings.type, TEXT))
    parts = split(task, rows, settings.split, kind.labels, taken)
    overlap = contamination(parts, rules, taken.views)
    with whole(out) as folder:
        for part, found in parts.items():
            write_rows(folder / f"{part}.parquet", found, _schema(schema, part))
        card = {
            "task": task,
            "type": settings.type,
            "labels": sorted(kind.labels(parts["train"])),
            "counts": {part: len(found) for part, found in parts.items()},
            "conflicts": conflicts(rows, kind.reference),
            "given": settings.split.given,
            "overlap": overlap,
            "left_out_for_overlap": taken.dropped,
            "code": digest(*code(settings.type)),
        }
        write_json(folder / "task.json", card)


if __name__ == "__main__":
    run(main)
