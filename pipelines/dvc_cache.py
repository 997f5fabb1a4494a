"""The DVC cache that the workers of one machine share: what one has pulled, none pulls again."""

import configparser
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from steps.core.entry import StepError

SHARED, LIMIT = "OUTPLANT_DVC_CACHE", "OUTPLANT_DVC_CACHE_GB"
LOCAL = Path(".dvc/config.local")


def share() -> None:
    """Make this clone use OUTPLANT_DVC_CACHE, where it is set; files are linked, not copied."""
    if not (folder := os.environ.get(SHARED)):
        return
    config = configparser.ConfigParser()
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
    folder, limit = os.environ.get(SHARED), os.environ.get(LIMIT)
    if not folder or not limit:
        return
    try:
        most = float(limit) * 1e9
    except ValueError:
        raise StepError(f"{LIMIT} is {limit!r}; expected gigabytes, such as 200") from None
    with FileLock(Path(folder) / "prune.lock"):
        found = [(path, path.stat()) for path in Path(folder, "files").rglob("*") if path.is_file()]
        total = sum(stat.st_size for _, stat in found)
        freed = 0
        for path, stat in sorted(found, key=lambda one: max(one[1].st_atime, one[1].st_mtime)):
            if total - freed <= most:
                break
            if stat.st_nlink == 1:
                path.unlink(missing_ok=True)
                freed += stat.st_size
    if freed:
        say(f"{freed / 1e9:.2f} GB left {folder}: it had {total / 1e9:.2f} of {most / 1e9:g}")
