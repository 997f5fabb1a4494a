"""Strategy `augment`: `full` on more texts, made of the training texts alone.

EDA (Wei and Zou 2019, arXiv:1901.11196): copies in which words are replaced by synonyms, put in,
swapped or left out. No thesaurus is at hand: a synonym is a word whose input embedding in the start
is near, which may as well be an opposite, so `strength` stays small. Where words are tagged, only
those outside spans change. A start that the stage `augment` has made brings the training texts of a
task, translated there and back (Sennrich et al. 2016, arXiv:1511.06709; Xie et al. 2020,
arXiv:1904.12848).
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from steps.core.entry import StepError
from steps.core.files import read_json, read_rows
from steps.tasks import Item
from steps.transfer.strategies import Material, Scorer, Supplies, full

READS_START = True
COMPARED = True
BUILT_ON = ("full",)
OUTPUTS = ("classes", "labels", "number")
FILES = ("augmented.json", "augmented.parquet")  # of the stage `augment`
Edit = Literal["synonyms", "insertions", "swaps", "deletions"]


class Settings(full.Settings):
    """`copies` of each training text, each made by one of the `edits`; `strength`: the share of a
    text's words that an edit changes.
    """

    strategy: Literal["augment"]
    copies: int = Field(ge=0)
    edits: list[Edit]
    strength: float = Field(0.1, gt=0, le=0.5)


def seeded(settings: Settings) -> bool:
    return True


def gather(settings: Settings, supplies: Supplies, out: Path) -> None:
    """Keep what the stage `augment` has put beside the start."""
    if bool(settings.copies) != bool(settings.edits):
        raise StepError(
            f"strategy augment: copies is {settings.copies} and edits has {len(settings.edits)};"
            " expected both or none: name edits, or set copies to 0"
        )
    there = [Path(settings.start) / name for name in FILES]
    if all(file.exists() for file in there):
        for file in there:
            shutil.copyfile(file, out / file.name)
    elif not settings.copies:
        raise StepError(
            f"strategy augment: copies is 0, and {there[1]} does not exist; raise copies, or start"
            " at a folder that the stage augment has made"
        )


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    translated = read_translated(material, start)
    edited = edit(material, settings, start, seed)
    if not translated and not edited:
        raise StepError(
            "strategy augment: no text is augmented; expected words outside spans, or translations"
            " of this very task: name the tasks that the recipe is for, `tasks: [...]`"
        )
    more = replace(material, examples=[*material.examples, *translated, *edited], made={})
    figures = full.fit(more, settings, start, seed, out)
    return figures | {"edited": len(edited), "translated": len(translated)}


def read_translated(material: Material, start: Path) -> list[Item]:
    """Read the texts that were translated there and back, where they are of this task."""
    if not (start / FILES[0]).exists() or read_json(start / FILES[0])["task"] != material.name:
        return []
    own = {example["id"] for example in material.examples}
    return [row for row in read_rows(start / FILES[1]) if row["id"] in own]


def edit(material: Material, settings: Settings, start: Path, seed: int) -> list[Item]:
    """Copies of the training examples; those that came out as another example, or as another's
    copy, are left out.
    """
    from steps.transfer.edits import Editor
    from steps.transfer.synonyms import near_words

    if not settings.copies:
        return []
    near = material.once("near", lambda: near_words(start, material))
    editor = Editor(material.type, near, settings.strength, seed)
    return editor.copies(material.examples, settings.edits, settings.copies)


def load(start: Path, weights: Path) -> Scorer:
    return full.load(start, weights)
