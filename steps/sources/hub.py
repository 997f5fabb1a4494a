"""One repository of a Hugging Face hub as a source, pinned to a commit."""

import os
import re
from pathlib import Path

from steps.core.entry import StepError, TryAgain
from steps.sources.tray import Tray, read_lines

PIN = re.compile(r"((?:datasets/)?[\w.-]+(?:/[\w.-]+)?)@([0-9a-f]{40})")


def fetch_hub(path: str, tray: Tray) -> None:
    """Copy what a file pins in its one line, `org/name@commit` or `datasets/org/name@commit`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    lines = [line for line in read_lines(path) if line]
    pinned = PIN.fullmatch(lines[0]) if len(lines) == 1 else None
    if not pinned:
        raise StepError(
            f"{path} has {lines}; expected one line org/name@<40 hex digits of a commit>, or"
            " datasets/org/name@...; a branch or tag moves, pin the commit that it is at"
        )
    repo, commit = pinned.groups()
    try:
        root = snapshot_download(
            repo.removeprefix("datasets/"),
            repo_type="dataset" if repo.startswith("datasets/") else "model",
            revision=commit,
            endpoint=os.environ.get("HF_ENDPOINT"),
            allow_patterns=tray.include,
            ignore_patterns=tray.exclude or None,
        )
    except (HTTPError, OSError, ValueError) as error:
        kind = TryAgain if isinstance(error, LocalEntryNotFoundError) else StepError  # no network
        raise kind(
            f"cannot fetch {repo}@{commit[:12]}: {error}; check its name and commit, the network,"
            " HF_ENDPOINT, and HF_TOKEN where it is private"
        ) from None
    for file in sorted(found for found in Path(root).rglob("*") if found.is_file()):
        if target := tray.target(file.relative_to(root).as_posix()):
            with file.open("rb") as stream:  # the hub's own cache is made of links
                tray.put(target, stream)
