"""Reader `rst`: a document is a section of a reStructuredText file, blank lines between blocks."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from steps.core.params import Section
from steps.readers.files import File
from steps.readers.inline import strip
from steps.readers.markup import page

KIND = {"documents"}
SUFFIXES = (".rst", ".txt")


class Options(Section):
    """None."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the sections; headings are left out."""
    found = page(file)
    yield from found.bad()
    sections = groupby(found.blocks, key=lambda block: block.headings)
    for number, (_, blocks) in enumerate(sections, 1):
        section = list(blocks)
        text = "\n\n".join(filter(None, (strip(block.text).text for block in section)))
        yield found.record(section[0], number, text=text)
