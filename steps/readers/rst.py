"""Reader `rst`: a document is a section of a reStructuredText file, blank lines between blocks."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from steps.readers.inline import strip
from steps.readers.markup import pages

KIND = {"documents"}


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the sections; headings are left out."""
    for page in pages(root):
        for _, blocks in groupby(page.blocks, key=lambda block: block.headings):
            section = list(blocks)
            text = "\n\n".join(filter(None, (strip(block.text).text for block in section)))
            yield {"source": page.library, "group": page.group(section[0]), "text": text}
