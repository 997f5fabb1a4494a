"""Where a source is put: what is chosen of it, under which names, how much at most."""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from steps.core.entry import StepError
from steps.core.files import climbs

MAX_BYTES = 64 << 30  # unpacked, of one source: a bound against archives that never end
CHUNK = 1 << 20
THREADS = 8


class Tray:
    """The folder that a source is put into: chooses, strips and bounds what comes."""

    def __init__(self, root: Path, include: list[str], strip: int) -> None:
        self.root, self.strip, self.left = root, strip, MAX_BYTES
        self.include = [glob for glob in include if not glob.startswith("!")]
        self.exclude = [glob[1:] for glob in include if glob.startswith("!")]
        self._lock = threading.Lock()

    def target(self, name: str) -> Path | None:
        """Say where a name goes, or None where it is not wanted; StepError where it climbs out."""
        if not any(fnmatchcase(name, glob) for glob in self.include):
            return None
        if any(fnmatchcase(name, glob) for glob in self.exclude):
            return None
        if climbs(name):
            raise StepError(
                f"{name!r} climbs out of its source, or would elsewhere; look at where it is from,"
                " or leave it out by a glob that starts with `!` in `include`"
            )
        kept = PurePosixPath(name).parts[self.strip :]
        return self.root.joinpath(*kept) if kept else None

    def create(self, target: Path) -> IO[bytes]:
        """Open a new file; StepError where there is one, or a folder where a file is to be."""
        where = target.relative_to(self.root)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            return target.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise StepError(
                f"two files of the source are both {where}; lower its `strip`, or leave one out by"
                " `include` (a file and a folder cannot have one name either)"
            ) from None
        except OSError as error:
            raise StepError(
                f"cannot write {where}: {error.strerror}; check the disk, or leave it out"
            ) from None

    def take(self, count: int) -> None:
        """Count bytes that come; StepError where the source is too large."""
        with self._lock:
            self.left -= count
        if self.left < 0:
            raise StepError(f"the source is over {MAX_BYTES} bytes; narrow its `include`")

    def put(self, target: Path, stream: IO[bytes]) -> None:
        """Write one file."""
        with self.create(target) as out:
            while chunk := stream.read(CHUNK):
                self.take(len(chunk))
                out.write(chunk)


def say_left_out(names: list[str]) -> None:
    """Say which links, devices and pipes are left out."""
    if names:
        shown = ", ".join(names[:5])
        print(f"left out {len(names)} links or devices: {shown}", file=sys.stderr)


def read_lines(path: str) -> list[str]:
    """Read the lines of a file of pins, continued lines joined and comments cut."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StepError(
            f"cannot read the file of pins {path!r} ({error}); mend sources.*.path in params.yaml"
        ) from None
    joined = re.sub(r"\\\n\s*", " ", text)
    return [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]


def in_threads(work: Callable[[Any], None], items: list[Any]) -> Iterator[None]:
    """Do the work for all items side by side, and yield as it is done; the first error stops it."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(work, items)
