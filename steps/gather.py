"""Stage `gather`: documents and tasks' training texts -> the text of an adaptation, in parts.

    python -m steps.gather ADAPTATION CORPORA SPLITS OUT

OUT has a folder of shards for each part (corpora/NAME, tasks/NAME, replay/NAME), and text.json with
their shares of the tokens. Of a task only train.parquet is read, and what of it overlaps a held-out
text of any task is dropped. A control has no more words than its original, and domain/NAME too: the
text of its original, on which it is measured and not trained.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import count_rows, read_batches, whole, write_json, write_rows
from steps.core.params import Adaptation, Text
from steps.core.progress import Bar
from steps.corpora.matching import Overlaps, Rules, held_out_texts
from steps.corpora.nearest import nearest
from steps.corpora.parts import BATCH, Part, copy, count_words, fit, measure, read_texts, select

COLUMNS = ("id", "source", "group", "text")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
ENOUGH = 0.9  # of its original's words; a control with fewer reads its own more often
Dropped = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Field:
    """Where the text lies that there is, and what overlap with a held-out text is."""

    corpora: Path
    splits: Path
    rules: Rules

    def documents(self, corpus: str) -> Path:
        return self.corpora / corpus / "documents"

    @cached_property
    def overlaps(self) -> Overlaps:
        """Tells which texts overlap a validation or test text of any task."""
        return Overlaps(held_out_texts(self.splits), self.rules)


def gather(text: Text, field: Field, out: Path) -> Dropped:
    """Write each part below `out`; return how many training texts were dropped, and why."""
    dropped: Dropped = {}
    for name in text.tasks:
        rows, dropped[f"tasks/{name}"] = training_texts(name, field)
        write_rows(out / "tasks" / name / "part-00000.parquet", rows, SCHEMA)
    for name in text.replay:
        copy(field.documents(name), out / "replay" / name)
    if text.nearest:
        _gather_nearest(text, field, out)
    else:
        for name in text.corpora:
            copy(field.documents(name), out / "corpora" / name)
    return dropped


def training_texts(task: str, field: Field) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Return each training text once that overlaps no held-out text, and how many were dropped."""
    first: dict[str, dict[str, str]] = {}
    read = 0
    for batch in read_batches(field.splits / task / "train.parquet", columns=list(COLUMNS)):
        for row in batch.to_pylist():  # one text may stand there with several questions
            first.setdefault(row["text"].strip(), row)
        read += batch.num_rows
    once, kept = list(first.values()), []
    with Bar(f"training texts of {task}", len(once)) as bar:
        for at in range(0, len(once), BATCH):
            some = once[at : at + BATCH]
            hits = field.overlaps.find([row["text"] for row in some])
            kept += [row for row, hit in zip(some, hits, strict=True) if not hit]
            bar.advance(len(some))
    if not kept:
        raise StepError(
            f"task {task}: all of its {read} training texts overlap validation or test texts;"
            " take it out of text.tasks"
        )
    return kept, {"overlap": len(once) - len(kept), "repeated": read - len(once)}


def _gather_nearest(text: Text, field: Field, out: Path) -> None:
    """Write of each corpus what is nearest to the tasks' texts among the documents of all."""
    sources = [field.documents(name) for name in text.corpora]
    sizes = [count_rows(source) for source in sources]
    tasks = [out / "tasks" / name for name in text.tasks]
    wanted = [one for some in _chained(tasks) for one in some]
    keep = np.zeros(sum(sizes), bool)
    keep[nearest(wanted, lambda: _chained(sources), len(keep), text.nearest)] = True
    masks = np.split(keep, np.cumsum(sizes)[:-1])
    for name, source, mask in zip(text.corpora, sources, masks, strict=True):
        if mask.any():
            select(source, mask, out / "corpora" / name)
        else:
            print(f"corpora/{name}: no document of it is near to the tasks' texts; left out")


def _chained(sources: Iterable[Path]) -> Iterator[list[str]]:
    for source in sources:
        yield from read_texts(source)


def shares(text: Text) -> dict[str, float]:
    """Each part's share as it was given, in the order of text.json."""
    return {
        f"{kind}/{name}": share
        for kind in ("corpora", "tasks", "replay")
        for name, share in getattr(text, kind).items()
    }


def twin(control: Adaptation, original: Text, field: Field, folder: Path) -> list[Part]:
    """Cut a control's text in `folder` to its original's size; add the original's as domain/.

    Field text and replayed text are held against each other's kind: a large replay would else let a
    control read more of its field than its original can of its own.
    """
    with whole(folder / "original") as made:
        gather(original.model_copy(update={"replay": {}}), field, made)
    theirs = measure(shares(original), folder / "original")
    ours = measure(shares(control.text), folder)
    replayed = [name for name, share in original.replay.items() if share]
    general = sum(count_words(field.documents(name)) for name in replayed)
    limit = sum(part.words for part in theirs)
    own = [part for part in ours if not part.part.startswith("replay/")]
    replays = [part for part in ours if part.part.startswith("replay/") and part.share]
    fitted = fit(own, limit, folder, control.seed)
    cut = {part.part: part for part in [*fitted, *fit(replays, general, folder, control.seed)]}
    if (words := sum(part.words for part in fitted)) < ENOUGH * limit:
        print(
            f"this control has {words:,} words, and {control.control_of} {limit:,}: its text will"
            f" be read {limit / words:.1f} times over while the other is read once"
        )
    found = [cut.get(part.part, part) for part in ours]
    return found + _domain(theirs, shares(control.text), folder)


def _domain(theirs: list[Part], own: Mapping[str, float], folder: Path) -> list[Part]:
    """Move the original's parts to domain/, but for those that the control reads itself."""
    (folder / "domain").mkdir()
    found = []
    for part in (part for part in theirs if part.part not in own):
        name = f"domain/{Path(part.part).name}"
        (folder / "original" / part.part).rename(folder / name)
        found.append(part._replace(part=name, share=0.0))
    shutil.rmtree(folder / "original")
    return found


def main(adaptation: str, corpora: Path, splits: Path, out: Path) -> None:
    """Write the text that ADAPTATION reads, and say how much of what it is."""
    settings = params.load()
    one = params.choose(adaptation, settings.adaptations, "adaptation")
    field = Field(corpora, splits, Rules(**settings.decontaminate.model_dump()))
    with whole(out) as folder:
        dropped = gather(one.text, field, folder)
        if one.control_of:
            parts = twin(one, settings.adaptations[one.control_of].text, field, folder)
        else:
            parts = measure(shares(one.text), folder)
        found = {"adaptation": adaptation, "control_of": one.control_of, "dropped": dropped}
        write_json(folder / "text.json", found | {"parts": [part._asdict() for part in parts]})
    for part in parts:
        said = f"{part.share:.0%}" if part.share else "measured only"
        print(f"{part.part}: {said}, {part.documents:,} documents, {part.words:,} words")


if __name__ == "__main__":
    run(main)
