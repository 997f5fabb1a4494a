"""Reader `text`: a document is a .txt or .md file; its source the top folder, or else the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

KIND = {"documents"}
SUFFIXES = (".txt", ".md")


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the files in sorted order; one that is not UTF-8 is a bad record."""
    for file in sorted(root.rglob("*")):
        if file.suffix not in SUFFIXES or not file.is_file():
            continue
        name = file.relative_to(root).as_posix()
        record = {"source": name.split("/", 1)[0], "group": name}
        try:
            yield record | {"text": file.read_text(encoding="utf-8")}
        except UnicodeDecodeError:
            yield record | {"text": "", "reason": "not_utf8"}
