"""The DVC cache that the workers of one machine share: what one has pulled, none pulls again."""

import configparser
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from steps.core.entry import StepError

SHARED, LIMIT = "OUTPLANT_DVC_CACHE", "OUTPLANT_DVC_CACHE_GB"
LOCAL = Path(".dvc/config.local")


def share() -> None:
    """Make this clone use OUTPLANT_DVC_CACHE, where it is set; files are linked, not copied."""
    if not (folder := os.environ.get(SHARED)):
        return
    _most()  # a mistake in it is said before the stage runs
    config = configparser.ConfigParser(interpolation=None)
    config.read(LOCAL)
    wanted = {"dir": str(Path(folder).absolute()), "type": "reflink,hardlink,copy"}
    if not config.has_section("cache") or dict(config["cache"]) != wanted:
        config["cache"] = wanted
        with LOCAL.open("w") as stream:
            config.write(stream)


def prune(say: Callable[[str], object]) -> None:
    """Bring the shared cache below OUTPLANT_DVC_CACHE_GB: what was not used for longest goes.

    What a clone's folder links to stays, for its bytes would not be freed.
    """
    if not (folder := os.environ.get(SHARED)) or not (most := _most()):
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with FileLock(Path(folder) / "prune.lock"):
        found = list(_files(Path(folder, "files")))
        total = sum(file.st_size for _, file in found)
        freed = 0
        for path, file in sorted(found, key=lambda one: max(one[1].st_atime, one[1].st_mtime)):
            if total - freed <= most:
                break
            if file.st_nlink == 1:
                path.unlink(missing_ok=True)
                freed += file.st_size
    if freed:
        say(f"{freed / 1e9:.2f} GB left {folder}: it had {total / 1e9:.2f} of {most / 1e9:g}")


def _most() -> float:
    """Return the limit in bytes; 0 where there is none."""
    if not (limit := os.environ.get(LIMIT)):
        return 0.0
    try:
        most = float(limit) * 1e9
    except ValueError:
        most = 0.0
    if not most > 0:
        raise StepError(f"{LIMIT} is {limit!r}; expected gigabytes, such as 200")
    return most


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:  # another worker has written it whole, under its own name
            continue
        if stat.S_ISREG(found.st_mode):
            yield path, found
