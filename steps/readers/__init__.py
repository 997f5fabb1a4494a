"""Readers: a file format -> records. A reader is a module with

- `KIND`: the set of what its records can be, of `steps.core.examples.KINDS`;
- `SUFFIXES`: how the names of its files end; () takes all;
- `Options`: its settings in params.yaml, a Section;
- `FOR`, if need be: settings that a kind of records has where none are given;
- `read(file, options)`: yields dicts with `source`, `group`, `text` and `place`, plus what examples
  have (the annotations of their kind, `language`, `split`, and `columns`, of names), or `reason`
  where a record is bad: it is then counted and listed, not lost.

`source` and `columns` are what slices are made of, `group` what is never torn apart by a split,
`place` where a person finds it.
"""

import importlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from steps.core.entry import StepError
from steps.core.examples import KINDS
from steps.core.params import Section, check, choose
from steps.readers.fields import Fields
from steps.readers.files import File, language_of

ANNOTATIONS = {name for names in KINDS.values() for name in names}
NAMES = (
    *("conll", "conll_u", "dataset", "jsonl", "lines", "parquet", "po", "squad", "table", "text"),
    *("rst", "rst_changes", "rst_components", "rst_entities", "rst_titles"),
)
# A name -> its module, imported when used: to change one reader changes no other
READERS = {name: f"steps.readers.{name}" for name in NAMES}


def load(name: str) -> ModuleType:
    """Import a reader by its name in params.yaml."""
    return importlib.import_module(choose(name, READERS, "reader"))


def options(name: str, raw: dict[str, Any], where: str, kind: str = "") -> Section:
    """Check a reader's settings; StepError names the key, what it has and what it takes.

    Given a kind of records, other annotations are not read: one that is damaged costs no record.
    """
    reader = load(name)
    section: type[Section] = reader.Options
    found = check(section, getattr(reader, "FOR", {}).get(kind, {}) | raw, where)
    if kind == "documents" and kept_columns(found):
        raise StepError(f"{where}.columns: columns are kept with a task's examples; take it out")
    others = ANNOTATIONS.difference(KINDS[kind]) if kind else set()
    return found.model_copy(update=dict.fromkeys(others & section.model_fields.keys(), ""))


def kept_columns(settings: Section) -> list[str]:
    """Names of the columns that are kept with each example, for slices."""
    return sorted(settings.columns) if isinstance(settings, Fields) else []


def read(
    name: str, settings: Section, given: bool, files: Iterable[File]
) -> Iterator[dict[str, Any]]:
    """Read one file after another; unless splits are `given`, what a file says of them is cut."""
    reader = load(name)
    for file in files:
        language = language_of(file.name, getattr(settings, "language_in_name", ""))
        for record in reader.read(file, settings):
            if not given:
                record.pop("split", None)
            yield {"language": language, **record} if language else record
