"""Strategy `selftrain`: a `full` model labels texts of the field; another learns from them too.

Pseudo-labels (Lee 2013) in rounds of teacher and student (Xie et al. 2020, arXiv:1911.04252). The
teacher's confidence is calibrated on validation (Guo et al. 2017, arXiv:1706.04599); only texts
above a bar are taken, of each class no more than its share in training, and the student begins anew
at the start. Where words are tagged, a text is as sure as its least sure word, and there are two
classes: texts with spans and texts without.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from steps.core.entry import StepError
from steps.core.files import read_json, read_rows, whole, write_json
from steps.core.temperature import scaled
from steps.tasks import Item
from steps.transfer.strategies import Material, Reading, Scorer, Supplies, full

READS_START = True
COMPARED = True
BUILT_ON = ("full",)
OUTPUTS = ("classes",)
POOL = "pool.parquet"


class Settings(full.Settings):
    """`pool`: a corpus, of which at most `pool_texts` pieces as long as the task's texts are
    labelled; `confidence`: how sure the teacher must be; `rounds` of labelling.
    """

    strategy: Literal["selftrain"]
    pool: str
    pool_texts: int = Field(ge=1)
    confidence: float = Field(gt=0, lt=1)
    rounds: int = Field(1, ge=1)


@dataclass(frozen=True)
class Labelled:
    """Pseudo-labelled examples, and how they came about."""

    examples: list[Item]
    figures: dict[str, Any]


def seeded(settings: Settings) -> bool:
    return True


def gather(settings: Settings, supplies: Supplies, out: Path) -> None:
    """Keep of the corpus what may become the pool."""
    from steps.transfer.pool import keep_documents

    keep_documents(supplies.corpora, settings.pool, settings.pool_texts, out / POOL)


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    from steps.transfer.pool import draw

    if material.type.INPUTS != ("text",) or not material.validation:
        raise StepError(
            "strategy selftrain labels single texts, and is calibrated on validation; take full"
            " for this task, or name the tasks that the recipe is for, `tasks: [...]`"
        )
    documents = material.once("documents", lambda: read_rows(start / POOL))
    labelled = [*material.examples, *material.validation]
    items = draw(documents, labelled, settings.pool_texts, seed)
    teacher = trained(material, settings, start, seed, 0)
    rounds = []
    for number in range(1, settings.rounds + 1):
        found = label(material, full.load(start, teacher), items, settings.confidence)
        rounds.append(found.figures)
        if not found.examples:
            print(f"warning: no text of {settings.pool} is sure enough; none is added", flush=True)
            break
        more = replace(material, examples=[*material.examples, *found.examples])
        teacher = trained(more, settings, start, seed, number)
    shutil.copytree(teacher, out, dirs_exist_ok=True)
    (out / "figures.json").unlink()
    return read_json(teacher / "figures.json") | {"pool": len(items), "rounds": rounds}


def trained(material: Material, settings: Settings, start: Path, seed: int, number: int) -> Path:
    """Train a round's model, unless a run that was killed has; the last round alone is told of."""
    room = material.room / f"seed-{seed}-round-{number}"
    done = room / "done"
    if not done.exists():
        own = replace(material, room=room)
        if number:
            own = replace(own, made={})  # of the teacher's examples alone
        if number < settings.rounds:
            own = replace(own, told=lambda epoch, score: None)
        print(f"round {number} of {settings.rounds}: {len(own.examples)} examples", flush=True)
        with whole(done) as made:
            write_json(made / "figures.json", full.fit(own, settings, start, seed, made))
    return done


def label(material: Material, scorer: Scorer, items: list[Item], bar: float) -> Labelled:
    """Label the items of which the teacher, once calibrated, is sure enough."""
    from steps.transfer.pool import balanced, temperature

    kind, classes, reading = material.type, material.classes, Reading(batch_size=32)
    raws = scorer(reading, material.validation)
    truth = [kind.targets(example, classes) for example in material.validation]
    by = temperature(np.concatenate(raws), np.concatenate(truth))
    raws = [scaled(raw, by) for raw in scorer(reading, items)]
    sure = np.array([raw.max(axis=1).min(initial=1.0) for raw in raws])
    places = np.flatnonzero(sure > bar)
    said = kind.decode(items, raws, classes)
    new = [items[place] | annotation(kind.LEVEL, said[place].value) for place in places]
    own = [class_of(kind.LEVEL, example) for example in material.examples]
    taken = balanced([class_of(kind.LEVEL, item) for item in new], sure[places], own)
    chosen = [new[place] for place in taken]
    counts = Counter(name for item in chosen for name in names(kind.LEVEL, item))
    figures = {"temperature": round(by, 4), "sure": len(new), "taken": len(chosen)}
    return Labelled(chosen, figures | {"classes": dict(sorted(counts.items()))})


def annotation(level: str, value: Any) -> Item:
    """A prediction's value, as an example has it."""
    if level == "text":
        return {"label": value}
    return {"spans": [{"start": at, "end": end, "label": name} for at, end, name in value]}


def names(level: str, example: Item) -> Sequence[str]:
    """The labels of an example."""
    return [example["label"]] if level == "text" else [s["label"] for s in example["spans"]]


def class_of(level: str, example: Item) -> str:
    """What is kept in balance."""
    return str(example["label"]) if level == "text" else str(bool(example["spans"]))


def load(start: Path, weights: Path) -> Scorer:
    return full.load(start, weights)
