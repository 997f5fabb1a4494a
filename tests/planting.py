"""Secrets that no one may find again: planted where they belong, looked for everywhere else."""

from collections.abc import Iterable
from pathlib import Path

SECRETS = {  # each in a variable that carries one
    "AWS_SECRET_ACCESS_KEY": "planted1awssecretkey",
    "HF_TOKEN": "hf_planted2token",
    "MLFLOW_TRACKING_PASSWORD": "planted3trackingpw",
    "PREFECT_API_AUTH_STRING": "admin:planted4authstring",
    "PIP_INDEX_URL": "https://me:planted5index@pip.invalid/simple",
    "OUTPLANT_RECORD": "postgresql://me:planted6record@127.0.0.1/nowhere",
}
GIT_REMOTE = "https://me:planted7gitremote@git.invalid/team/project.git"
DVC_PASSWORD = "planted8dvcremote"
ADDRESS = "planted9address"
# What is looked for: of each its rarest part
MARKS = [b"planted%d" % number for number in range(1, 10)]


def found(folders: Iterable[Path], kept: Iterable[str] = ()) -> list[str]:
    """Say which files have a planted secret; `kept`: ends of paths of files that may."""
    leaks = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not str(path).endswith(tuple(kept)):
                data = path.read_bytes()
                leaks += [f"{path}: {mark.decode()}" for mark in MARKS if mark in data]
    return leaks


def said(text: str) -> list[str]:
    """Say which secrets are in what a command printed."""
    return [mark.decode() for mark in MARKS if mark.decode() in text]
