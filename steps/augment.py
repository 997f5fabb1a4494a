"""Stage `augment`: a task's training texts, translated there and back -> a start with them beside.

    python -m steps.augment AUGMENTATION START FORTH BACK SPLITS OUT

FORTH and BACK are candidates of translation tasks. A training text is never seen in another part of
a split, and neither is what comes back: texts that overlap a validation or test text are left out,
as are those that came back as they were. Sennrich et al. 2016, arXiv:1511.06709.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from steps.core.entry import StepError, run
from steps.core.files import read_json, read_rows, whole, write_json, write_rows
from steps.core.params import choose, load
from steps.core.progress import Bar
from steps.corpora.matching import HELD_OUT, Matcher, Rules
from steps.corpora.overlap import collapsed
from steps.tasks import task_type
from steps.transfer.checkpoints import Predictor, copy_start, load_best

AT_ONCE = 256  # texts between two lines of progress
Rows = list[dict[str, Any]]
Translate = Callable[[list[str]], list[str]]


def augment(
    rows: Rows, held_out: Rows, fields: tuple[str, ...], around: Translate, rules: Rules
) -> tuple[Rows, dict[str, int]]:
    """Return what came back of the rows as new texts, each once, and the counts.

    fields: what of a row is translated. around: texts, there and back.
    """
    back = {name: around([row[name] for row in rows]) for name in fields}
    new = [
        row | {name: back[name][place].strip() for name in fields} for place, row in enumerate(rows)
    ]
    overlaps = [_overlapping(new, held_out, name, rules) for name in fields]
    known = {_read(row, fields) for row in rows}
    found: Rows = []
    counts = {"read": len(rows), "same": 0, "held_out": 0}
    for row, *hits in zip(new, *overlaps, strict=True):
        if _read(row, fields) in known or not all(row[name] for name in fields):
            counts["same"] += 1
        elif any(hits):
            counts["held_out"] += 1
        else:
            known.add(_read(row, fields))
            found.append(row)
    return found, counts | {"kept": len(found)}


def _read(row: dict[str, Any], fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(collapsed(row[name]) for name in fields)


def _overlapping(rows: Rows, held_out: Rows, field: str, rules: Rules) -> list[bool]:
    matcher = Matcher([row[field] for row in held_out], rules)
    return [hit is not None for hit in matcher.first([row[field] for row in rows])]


def translator(forth: Predictor, back: Predictor) -> Translate:
    """Translate there and back, each text once."""

    def around(texts: list[str]) -> list[str]:
        once = list(dict.fromkeys(texts))
        found: dict[str, str] = {}
        with Bar("translating there and back", len(once)) as bar:
            for at in range(0, len(once), AT_ONCE):
                part = once[at : at + AT_ONCE]
                there = [item.value for item in forth.predictions(part)]
                returned = [item.value for item in back.predictions(there)]
                found |= dict(zip(part, returned, strict=True))
                bar.advance(len(part))
        return [found[text] for text in texts]

    return around


def main(augmentation: str, start: Path, forth: Path, back: Path, splits: Path, out: Path) -> None:
    """Put the translated training texts of AUGMENTATION's task beside START."""
    params = load()
    settings = choose(augmentation, params.augmentations, "augmentation")
    card = read_json(splits / "task.json")
    kind = task_type(card["type"])
    if getattr(kind, "LEVEL", "") != "text":
        raise StepError(
            f"augmentation {augmentation}: {settings.task} is of type {card['type']}; only what is"
            " said of a whole text stays true when it is translated: name such a task"
        )
    train = splits / "train.parquet"
    held_out = [row for part in HELD_OUT for row in read_rows(splits / f"{part}.parquet")]
    both = (load_best(folder, params.evaluation.batch_size) for folder in (forth, back))
    rules = Rules(**params.decontaminate.model_dump())
    around = translator(*both)
    found, counts = augment(read_rows(train), held_out, kind.INPUTS, around, rules)
    with whole(out) as made:
        copy_start(start, made)
        schema = pq.read_schema(train).remove_metadata()
        write_rows(made / "augmented.parquet", found, schema)
        about = {"augmentation": augmentation, **settings.model_dump(), "counts": counts}
        write_json(made / "augmented.json", about)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    run(main)
