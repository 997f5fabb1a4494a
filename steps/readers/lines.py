"""Reader `lines`: a document is a line of any text file; its group, and source, the file."""

from collections.abc import Iterator
from typing import Any

from steps.core.params import Section
from steps.readers import files
from steps.readers.files import File

KIND = {"documents"}
SUFFIXES = ()


class Options(Section):
    """None."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the lines that are not blank."""
    for number, line, reason in files.lines(file):
        text = line.strip()
        if text or reason:
            place = f"{file.name}:{number}"
            record = {"source": file.name, "group": file.name, "place": place, "text": text}
            yield record | {"reason": reason} if reason else record
