"""Reader `lines`: a document is a line of any text file; its group, and source, the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

KIND = {"documents"}


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of all files in sorted order; what is not UTF-8 in one is replaced."""
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        name = file.relative_to(root).as_posix()
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in filter(None, map(str.strip, lines)):
                yield {"source": name, "group": name, "text": line}
