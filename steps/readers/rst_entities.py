"""Reader `rst_entities`: a paragraph, and what its authors marked with a role, as spans.

Paragraphs with literals or default roles are no examples: identifiers in them are not labelled.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steps.readers.inline import strip
from steps.readers.markup import pages

KIND = {"tokens"}


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the paragraphs that have at least one entity and no unlabelled code."""
    for page in pages(root):
        for block in page.blocks:
            prose = strip(block.text)
            if prose.spans and not prose.unmarked:
                yield {
                    "source": page.library,
                    "group": page.group(block),
                    "text": prose.text,
                    "spans": prose.spans,
                }
