"""What a champion was made from, and what it said when it was registered."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines import lineage, registry, reproduction, traces
from pipelines.facts import SPLITS
from pipelines.tracing import UNTRACED
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.files import read_json, whole
from steps.judge.load import Predictions, References, read_predictions, read_references

KEPT = Path(".outplant/splits")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Before:
    """A champion and its files; `split`: the folder of its splits, or `lacking` says why not."""

    found: Version
    bundle: Path
    evidence: Path
    split: Path | None
    lacking: str = ""

    @cached_property
    def said(self) -> Predictions:
        """What the weights in its bundle said of the test set: of its seeds that one."""
        every = read_predictions(self.evidence, "test")
        at = every.seeds.index(self.found.seed)
        return replace(
            every,
            seeds=[self.found.seed],
            values=[every.values[at]],
            confidences=every.confidences[at : at + 1],
        )

    @cached_property
    def scored(self) -> dict[str, Any]:
        """Its figures on test as they were registered: mean, low, high, and by seed."""
        comparison = read_json(self.evidence / "comparison.json")
        test: dict[str, Any] = comparison["candidates"][self.found.recipe]["test"]
        return test

    def part(self, name: str) -> References | None:
        """A part of its splits, where they could be had."""
        return None if self.split is None else read_references(self.split, name)


def read(found: Version, say: Say) -> Before:
    """Fetch what was registered, and the splits that it was trained on."""
    files, folder = registry.files(found), registry.trace(found)
    if folder is None:
        said = f"version {found.number} of {found.task} {UNTRACED}"
        return Before(found, *files, None, said)
    try:
        return Before(found, *files, split_of(found, traces.read(folder)["stages"], say))
    except StepError as error:
        return Before(found, *files, None, str(error))


def split_of(found: Version, stages: lineage.Entries, say: Say) -> Path:
    """Return a folder with the splits of a version: those that are here, or old ones by their hash.

    Of the old DVC's cache is asked first, then its remote. StepError where neither has them.
    """
    here: Path = SPLITS / found.task
    name = lineage.maker(stages, here)
    md5: str = next(out["md5"] for out in stages[name]["outs"] if out["path"] == here.as_posix())
    if here.exists() and lineage.dvc_hash(here) == md5:
        return here
    kept = KEPT / md5
    if not kept.exists() and not _from_cache(md5, kept):
        if not found.commit:
            raise StepError(
                f"the splits that version {found.number} of {found.task} was trained on are"
                " not in DVC's cache, and it was made outside git: no commit to fetch them by"
            )
        say(f"fetching {here} as it was at commit {found.commit[:12]}")
        with reproduction.worktree(found.commit) as clone:
            reproduction.bring(stages, {name}, clone, say)
            with whole(kept) as made:
                shutil.copytree(clone / here, made, dirs_exist_ok=True)
    return kept


def _from_cache(md5: str, out: Path) -> bool:
    """Copy a folder out of DVC's cache, where that has all of it."""
    cache = Path(reproduction.asked("cache", "dir")) / "files" / "md5"
    listing = cache / md5[:2] / md5[2:]
    if not listing.exists():
        return False
    files = {
        item["relpath"]: cache / item["md5"][:2] / item["md5"][2:] for item in read_json(listing)
    }
    if not all(file.exists() for file in files.values()):
        return False
    with whole(out) as made:
        for name, file in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, made / name)
    return True
