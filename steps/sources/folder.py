"""A file or folder of this machine as a source."""

import os
import stat
from pathlib import Path

from steps.core.entry import StepError
from steps.core.progress import track
from steps.sources.tray import Tray, say_left_out


def fetch_path(path: str, tray: Tray) -> None:
    """Copy a file or folder; OSError where something of it cannot be read."""
    root = Path(path)
    if not root.exists():
        raise StepError(f"no file or folder {path!r}; mend sources.*.path in params.yaml")
    names = _names(root) if root.is_dir() else [""]
    wanted = [(name, target) for name in names if (target := tray.target(name or root.name))]
    for name, target in track(wanted, "copy", len(wanted)):
        with (root / name).open("rb") as stream:
            tray.put(target, stream)


def _names(root: Path) -> list[str]:
    """List the regular files below a folder; links, devices and pipes are left out and said so."""

    def stop(error: OSError) -> None:
        raise error

    files: list[str] = []
    others: list[str] = []
    for folder, folders, names in os.walk(root, onerror=stop):
        folders.sort()
        for path in (Path(folder, name) for name in sorted(names + folders)):
            kind = path.lstat().st_mode
            if not stat.S_ISDIR(kind):
                (files if stat.S_ISREG(kind) else others).append(path.relative_to(root).as_posix())
    say_left_out(others)
    return files
