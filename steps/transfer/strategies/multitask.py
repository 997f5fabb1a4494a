"""Strategy `multitask`: one encoder learns several tasks at once, each with a head of its own.

Caruana 1997, "Multitask Learning"; Liu et al. 2019, arXiv:1901.11504, for pretrained encoders: each
batch is of one task. How often it is which one, a temperature says (Raffel et al. 2020,
arXiv:1910.10683, 3.5.2). The candidate's own task decides which epoch is kept, and is all that is
saved. An epoch sees all examples of it once.
"""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from steps.core.entry import StepError
from steps.core.files import read_json, read_rows
from steps.tasks import task_type
from steps.transfer.strategies import Material, Scorer, Supplies, Training

READS_START = True
OUTPUTS = ("classes", "labels", "number")
TRAIN, CARD = "train.parquet", "task.json"


class Settings(Training):
    """`with`: the tasks that are learned beside the candidate's own, which may be among them.

    `temperature`: at 1 a task is seen as often as it is large; the higher, the more alike all are.
    `layer_decay`: as in `full`.
    """

    strategy: Literal["multitask"]
    others: list[str] = Field(alias="with", min_length=1)
    temperature: float = Field(2.0, ge=1)
    layer_decay: float = Field(1.0, gt=0, le=1)


def seeded(settings: Settings) -> bool:
    return True


def gather(settings: Settings, supplies: Supplies, out: Path) -> None:
    """Keep the training examples of the tasks, but for those that overlap what is held out of any:
    one task's training text may be another's test text.
    """
    for name in settings.others:
        task = supplies.splits / name
        if not (task / CARD).exists():
            there = sorted(folder.parent.name for folder in supplies.splits.glob(f"*/{CARD}"))
            raise StepError(
                f"strategy multitask: no task {name!r} in {task.parent}; `with` may name:"
                f" {', '.join(there)}"
            )
        kind = task_type(read_json(task / CARD)["type"])
        _require_units(name, kind.OUTPUT)
        table = pq.read_table(task / TRAIN)
        rows = table.to_pylist()
        held = [supplies.held_out([row[field] for row in rows]) for field in kind.INPUTS]
        kept = [not any(hits) for hits in zip(*held, strict=True)]
        folder = out / "tasks" / name
        folder.mkdir(parents=True)
        pq.write_table(table.filter(pa.array(kept)), folder / TRAIN, compression="zstd")
        shutil.copyfile(task / CARD, folder / CARD)
        print(f"{name}: {sum(kept)} of {len(kept)} training examples overlap no held-out text")


def _require_units(name: str, output: str) -> None:
    if output not in OUTPUTS:
        raise StepError(
            f"strategy multitask: task {name} wants {output}; `with` takes tasks of"
            f" {', '.join(OUTPUTS)}"
        )


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    from steps.transfer.networks import Shape
    from steps.transfer.networks.several import Several, lay_out
    from steps.transfer.networks.tuning import begin, decayed, learn

    others = material.once("others", lambda: read_others(material, settings, start))
    made = begin(material, settings, Shape(), start, seed)
    heads = [(with_head(made, one, settings), one.examples) for one in others]
    several = Several(made, heads)
    all_rows = material.once("all", lambda: several.rows(material.examples, learn=True))
    layout = partial(lay_out, [row.task for row in all_rows], settings.temperature)
    beside = replace(material, made={"rows": all_rows})
    groups = decayed(several, settings, settings.layer_decay)
    figures = learn(several, beside, settings, groups, seed, layout=layout)
    made.save(out)
    return figures | {"with": {one.name: len(one.examples) for one in others}}


def read_others(material: Material, settings: Settings, start: Path) -> list[Material]:
    """Read the tasks beside the candidate's own; all are read up to its `max_tokens`."""
    found = []
    for name in dict.fromkeys(settings.others):
        if name != material.name:
            folder = start / "tasks" / name
            about, rows = read_json(folder / CARD), read_rows(folder / TRAIN)
            classes = task_type(about["type"]).classes(about["labels"])
            found.append(Material(about["type"], classes, rows, material.max_tokens, name=name))
    if not any(one.examples for one in found):
        raise StepError(
            f"strategy multitask: `with` names {', '.join(settings.others)}, of which nothing is"
            f" left to learn beside task {material.name}; name another task with it"
        )
    return [one for one in found if one.examples]


def with_head(made: Any, material: Material, settings: Settings) -> Any:
    """A network of the same encoder with a head for another task, already good on it."""
    from steps.transfer.loop import set_dropout
    from steps.transfer.networks import Reads
    from steps.transfer.networks.heads import fit_first
    from steps.transfer.networks.units import Network

    reads = Reads(material.task, material.classes, material.max_tokens)
    found = Network(made.encoder, reads, None)
    found.load_state_dict(material.once("head", lambda: fit_first(found, material)), strict=False)
    set_dropout(found, settings.dropout)
    return found


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer import networks

    return networks.load(start, weights)
