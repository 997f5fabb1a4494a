"""Readers: a file format -> records. A reader is a module with

- `KIND`: the set of what its records can be: "documents", "classification", "tokens";
- `read(root)`: yields dicts with `source`, `group` and `text`, plus `label` or `spans` of examples,
  or `reason` where a record is bad: it is then counted and listed, not lost.

`source` is what slices are made of, `group` what is never torn apart by a split.
"""

import importlib
from types import ModuleType

from steps.core.params import choose

READERS = {  # a name -> its module, imported when used: to change one reader changes no other
    "jsonl": "steps.readers.jsonl",
    "lines": "steps.readers.lines",
    "rst": "steps.readers.rst",
    "rst_changes": "steps.readers.rst_changes",
    "rst_components": "steps.readers.rst_components",
    "rst_entities": "steps.readers.rst_entities",
    "text": "steps.readers.text",
}


def load(name: str) -> ModuleType:
    """Import a reader by its name in params.yaml."""
    return importlib.import_module(choose(name, READERS, "reader"))
