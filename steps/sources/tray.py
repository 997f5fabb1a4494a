"""Where a source is put: what is chosen of it, under which names, how much at most."""

import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from steps.core.entry import StepError
from steps.core.progress import track

MAX_BYTES = 64 << 30  # unpacked, of one source: a bound against archives that never end
THREADS = 8


class Tray:
    """The folder that a source is put into: chooses, strips and bounds what comes."""

    def __init__(self, root: Path, include: list[str], strip: int) -> None:
        self.root, self.strip, self.left = root, strip, MAX_BYTES
        self.include = [glob for glob in include if not glob.startswith("!")]
        self.exclude = [glob[1:] for glob in include if glob.startswith("!")]

    def target(self, name: str) -> Path | None:
        """Say where a name goes, or None where it is not wanted; StepError where it climbs out."""
        if not any(fnmatchcase(name, glob) for glob in self.include):
            return None
        if any(fnmatchcase(name, glob) for glob in self.exclude):
            return None
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise StepError(f"{name!r} climbs out of its source; refused, look at where it is from")
        kept = path.parts[self.strip :]
        return self.root.joinpath(*kept) if kept else None

    def put(self, target: Path, stream: IO[bytes]) -> None:
        """Write one file; StepError where another is there already or the source is too large."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            out = target.open("xb")
        except FileExistsError:
            where = target.relative_to(self.root)
            raise StepError(
                f"two files of the source are both {where}; lower its `strip`"
            ) from None
        with out:
            while chunk := stream.read(1 << 20):
                self.left -= len(chunk)
                if self.left < 0:
                    raise StepError(f"the source is over {MAX_BYTES} bytes; narrow its `include`")
                out.write(chunk)


def say_links(names: list[str]) -> None:
    if names:
        print(f"left out {len(names)} links: {', '.join(names[:5])}", file=sys.stderr)


def read_lines(path: str) -> list[str]:
    """Read the lines of a file of pins, continued lines joined and comments cut."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise StepError(f"no file of pins {path!r}; mend sources.*.path in params.yaml") from None
    joined = re.sub(r"\\\n\s*", " ", text)
    return [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]


def in_threads(work: Callable[[Any], None], items: list[Any], what: str) -> None:
    """Do the work for all items side by side; the first error stops it."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in track(pool.map(work, items), what, len(items)):
            pass
