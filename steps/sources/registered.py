"""A checkpoint that is registered in MLflow as a source, by its version or by an alias.

What talks to MLflow is handed in: no library here knows it.
"""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from steps.core.entry import StepError
from steps.core.params import choose
from steps.sources.tray import Tray, read_lines

PIN = re.compile(r"models:/([^/@'\"]+)(?:/(\d+)|@([\w.-]+))")
MODEL = ("config.json", "generation_config.json", "model*.safetensors", "model*.index.json")
TOKENIZER = ("*token*.json", "vocab.*", "merges.txt", "*.model")


class Registry(Protocol):
    """What is asked of MLflow: see pipelines.registry."""

    def registered(self, name: str) -> tuple[list[int], dict[str, int]]: ...

    def opened(self, name: str, number: int) -> AbstractContextManager[Path]: ...


def fetch_registered(path: str, tray: Tray, registry: Registry) -> None:
    """Copy the checkpoint that a file pins in its one line: models:/NAME/VERSION or NAME@ALIAS.

    Of a bundle's files those of the checkpoint: what else is in it belongs to its own task.
    """
    lines = [line for line in read_lines(path) if line]
    pinned = PIN.fullmatch(lines[0]) if len(lines) == 1 else None
    if not pinned:
        raise StepError(
            f"{path} has {lines}; expected one line models:/NAME/VERSION or models:/NAME@ALIAS"
        )
    name, number = pinned[1], _number(pinned, path, registry)
    with registry.opened(name, number) as folder:
        for file in _checkpoint(folder, f"models:/{name}/{number}"):
            if target := tray.target(file.name):
                with file.open("rb") as stream:
                    tray.put(target, stream)


def _number(pinned: re.Match[str], path: str, registry: Registry) -> int:
    """Look up which version is meant, and say so where an alias leaves it open."""
    name, number, alias = pinned.groups()
    numbers, aliases = registry.registered(name)
    if not numbers:
        raise StepError(
            f"MLflow has no model {name!r} (in {path}); mend the name, or MLFLOW_TRACKING_URI"
        )
    if alias is None:
        there = {str(one): one for one in numbers}
        return choose(str(int(number)), there, f"version of {name}")
    found = choose(alias, aliases, f"alias of {name}")
    print(f"{pinned[0]} is version {found} now and may move; models:/{name}/{found} pins it")
    return found


def _checkpoint(folder: Path, what: str) -> list[Path]:
    """List the files of the one checkpoint in a version; its tokenizer may lie elsewhere."""
    models = {file.parent for file in folder.rglob("model*.safetensors")}
    models = {parent for parent in models if (parent / "config.json").is_file()}
    if not models:
        raise StepError(
            f"{what} has no checkpoint (a config.json beside model.safetensors; a baseline has"
            " none); take another version"
        )
    model = min(models, key=_depth)
    tokenizers = {file.parent for file in folder.rglob("tokenizer.json")} or {model}
    beside = model if model in tokenizers else min(tokenizers, key=_depth)
    found = {file for glob in MODEL for file in model.glob(glob)}
    return sorted(found | {file for glob in TOKENIZER for file in beside.glob(glob)})


def _depth(folder: Path) -> tuple[int, Path]:
    return len(folder.parts), folder
