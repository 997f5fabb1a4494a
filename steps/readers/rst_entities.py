"""Reader `rst_entities`: a paragraph, and what its authors marked with a role, as spans.

Paragraphs with literals or default roles are no examples: identifiers in them are not labelled.
"""

from collections.abc import Iterator
from typing import Any

from steps.core.params import Section
from steps.readers.files import File
from steps.readers.inline import strip
from steps.readers.markup import page

KIND = {"tokens"}
SUFFIXES = (".rst", ".txt")


class Options(Section):
    """None."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the paragraphs that have at least one entity and no unlabelled code."""
    found = page(file)
    yield from found.bad()
    for number, block in enumerate(found.blocks, 1):
        prose = strip(block.text)
        if prose.spans and not prose.unmarked:
            yield found.record(block, number, text=prose.text, spans=prose.spans)
