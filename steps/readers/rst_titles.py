"""Reader `rst_titles`: a section of reStructuredText and its title, to summarise or to find it.

`side` says which is the text: the body (the title is the target), or, as for retrieval, the title.
Titles of one word ("Overview"), short sections, and changelogs, whose titles are versions, are left
out.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal

from steps.core.params import Section
from steps.readers.files import File
from steps.readers.inline import strip
from steps.readers.markup import page

KIND = {"summarisation", "retrieval"}
SUFFIXES = (".rst", ".txt")
FOR = {"retrieval": {"side": "title"}}
WORDS = 20  # of a section at least


class Options(Section):
    side: Literal["body", "title"] = "body"


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the sections that have a title of their own, their subsections apart."""
    found = page(file)
    yield from found.bad()
    sections = groupby([] if found.is_changelog else found.blocks, key=lambda x: x.headings)
    for number, (headings, blocks) in enumerate(sections, 1):
        section = list(blocks)
        title = strip(headings[-1]).text if headings else ""
        body = "\n\n".join(filter(None, (strip(block.text).text for block in section)))
        if len(title.split()) < 2 or len(body.split()) < WORDS:
            continue
        text, target = (body, title) if options.side == "body" else (title, body)
        yield found.record(section[0], number, text=text, target=target)
