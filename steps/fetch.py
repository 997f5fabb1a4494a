"""Stage `fetch`: a source -> data/raw/<source>, only what its `include` names, checked.

    python -m steps.fetch NAME OUT

`include` holds globs over the names inside a source (`*` also matches `/`): a name is taken where
one matches and none that starts with `!` does. `strip` then cuts so many leading folders. Links are
left out, and said so.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import whole
from steps.core.params import Source
from steps.sources.pypi import fetch_pypi
from steps.sources.tray import Tray, in_threads, read_lines, say_links

COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch_path(path: str, tray: Tray) -> None:
    """Copy a file or folder of this machine."""
    root = Path(path)
    if not root.exists():
        raise StepError(f"no file or folder {path!r}; mend sources.*.path in params.yaml")
    if root.is_file():
        files = [root]
    else:
        files = sorted(found for found in root.rglob("*") if found.is_file())
        say_links([found.as_posix() for found in files if found.is_symlink()])
    for file in files:
        name = file.name if root.is_file() else file.relative_to(root).as_posix()
        target = tray.target(name)
        if target and (root.is_file() or not file.is_symlink()):
            with file.open("rb") as stream:
                tray.put(target, stream)


def fetch_s3(path: str, tray: Tray) -> None:
    """Copy what is under s3://bucket/prefix; AWS_ENDPOINT_URL and the usual AWS settings hold."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    if not path.startswith("s3://") or not bucket:
        raise StepError(f"{path!r} is no S3 address; expected s3://bucket/prefix")
    try:
        client = boto3.client("s3")
        keys = list(_keys(client, bucket, prefix.rstrip("/")))
        if not keys:
            raise StepError(f"nothing under {path}; mend sources.*.path in params.yaml")
        wanted = [(key, target) for name, key in keys if (target := tray.target(name))]

        def get(item: tuple[str, Path]) -> None:
            tray.put(item[1], client.get_object(Bucket=bucket, Key=item[0])["Body"])

        in_threads(get, wanted, "fetch")
    except (BotoCoreError, ClientError) as error:
        raise StepError(f"cannot read {path}: {error}; check its name and your AWS_*") from None


def _keys(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield (name below the prefix, key); a prefix that is a key itself is one file."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for item in page.get("Contents", []):
            key: str = item["Key"]
            if key == prefix and not key.endswith("/"):
                yield PurePosixPath(key).name, key
            elif (not prefix or key.startswith(f"{prefix}/")) and not key.endswith("/"):
                yield key[len(prefix) :].lstrip("/"), key


def fetch_hub(path: str, tray: Tray) -> None:
    """Copy one repository of a hub: `org/name@commit`, or `datasets/org/name@commit`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    lines = [line for line in read_lines(path) if line]
    repo, _, commit = lines[0].partition("@") if len(lines) == 1 else ("", "", "")
    if not COMMIT.fullmatch(commit):
        raise StepError(
            f"{path} has {lines}; expected one line org/name@<40 hex digits of a commit>"
        )
    kind = "dataset" if repo.startswith("datasets/") else "model"
    try:
        root = snapshot_download(
            repo.removeprefix("datasets/"),
            repo_type=kind,
            revision=commit,
            allow_patterns=tray.include,
            ignore_patterns=tray.exclude or None,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StepError(f"cannot fetch {repo}@{commit[:12]}: {error}; check the name, the network"
                        " and HF_ENDPOINT") from None  # fmt: skip
    for file in sorted(found for found in Path(root).rglob("*") if found.is_file()):
        if target := tray.target(file.relative_to(root).as_posix()):
            with file.open("rb") as stream:  # the hub's own cache is made of links
                tray.put(target, stream)


SOURCES: dict[str, Callable[[str, Tray], None]] = {
    "path": fetch_path,
    "s3": fetch_s3,
    "hub": fetch_hub,
    "pypi": fetch_pypi,
}


def fetch(source: Source, out: Path) -> None:
    """Fill `out` from the source; StepError where nothing of it is wanted."""
    kind = params.choose(source.kind, SOURCES, "kind of source")
    with whole(out) as folder:
        kind(source.path, Tray(folder, source.include, source.strip))
        if not any(folder.iterdir()):
            globs = ", ".join(source.include)
            raise StepError(f"no file of {source.path} is matched by include: {globs}; mend it")


def main(name: str, out: Path) -> None:
    """Fetch the source NAME of params.yaml into the folder OUT."""
    fetch(params.choose(name, params.load().sources, "source"), out)


if __name__ == "__main__":
    run(main)
