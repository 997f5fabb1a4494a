"""Where a bundle comes from: dvc.lock and git, read as files. Nothing of DVC is imported.

The lineage key is the sha256 of all stages upstream of an out: their commands, params, and the
hashes of what they read and wrote. What was made from the same things by the same code has it.
"""

import hashlib
import itertools
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from steps.core.entry import StepError

LOCK, GRAPH, PARAMS = Path("dvc.lock"), Path("dvc.yaml"), Path("params.yaml")
WATCHED = ("steps", "pipelines", "infra", "dvc.yaml", "params.yaml")  # code and params
Entries = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Commit:
    """`dirty`: files of code and params that are not as committed; without git all is empty."""

    hash: str
    dirty: list[str]


def read_lock() -> Entries:
    """Return the stages of dvc.lock that dvc.yaml still has (DVC keeps those taken out)."""
    lock = _yaml(LOCK, "run `dvc repro`").get("stages", {})
    live = _live(_yaml(GRAPH, "run this from the project's own folder"))
    return {name: entry for name, entry in lock.items() if live is None or name in live}


def upstream(entries: Entries, path: Path) -> Entries:
    """Return the stages that made an out; StepError where one has moved on since it was read."""
    found: Entries = {}
    waiting = [maker(entries, path)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = entries[name]
        waiting += parents(entries, name)
    return found


def parents(entries: Entries, name: str) -> list[str]:
    """Return the stages whose outs a stage reads."""
    deps = entries[name].get("deps", [])
    return sorted({made for dep in deps for made in _makers(entries, name, dep)})


def key(stages: Entries) -> str:
    """Return the lineage key of an upstream."""
    known = {
        name: {
            "cmd": entry.get("cmd"),
            "params": entry.get("params", {}),
            "deps": _hashes(entry, "deps"),
            "outs": _hashes(entry, "outs"),
        }
        for name, entry in stages.items()
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def params(stages: Entries) -> dict[str, Any]:
    """Return the dotted params that the stages were run with."""
    return {
        name: value
        for _, entry in sorted(stages.items())
        for file in entry.get("params", {}).values()
        for name, value in _flat(file).items()
    }


def values(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a stage's params as dvc.yaml names them: `recipes.full` with all that is below it."""
    return {
        name: value for file in entry.get("params", {}).values() for name, value in file.items()
    }


def maker(entries: Entries, path: Path) -> str:
    """Return the stage that has a path among its outs."""
    for name, entry in entries.items():
        if path.as_posix() in _hashes(entry, "outs"):
            return name
    raise StepError(f"no stage in {LOCK} has made {path}; run `dvc repro`")


def verify(entries: Entries, path: Path) -> None:
    """Refuse an out whose files are not those that dvc.lock has."""
    stage = maker(entries, path)
    if not path.exists():
        raise StepError(f"no {path}; run `dvc repro {stage}` (or `dvc pull {stage}`)")
    expected, found = _hashes(entries[stage], "outs")[path.as_posix()], dvc_hash(path)
    if found != expected:
        raise StepError(
            f"{path} is not what {LOCK} says: expected md5 {expected}, found {found}; "
            f"`dvc checkout --force {path}` brings it back, `dvc repro {stage}` makes it again"
        )


def dvc_hash(path: Path) -> str:
    """Return DVC's md5 of a file, or of a folder: that of the JSON list of its files' md5s."""
    if path.is_file():
        return _md5(path)
    files = (file for file in path.rglob("*") if file.is_file())
    return folder_hash((file.relative_to(path).as_posix(), _md5(file)) for file in files)


def folder_hash(files: Iterable[tuple[str, str]]) -> str:
    """Return DVC's md5 of a folder whose files have these names and md5s."""
    listed = [{"md5": md5, "relpath": name} for name, md5 in sorted(files)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def commit() -> Commit:
    """Return the commit and what differs from it; dvc.lock may: a run has just written it."""
    head = _git("rev-parse", "HEAD")
    if head is None:
        return Commit("", [])
    watched = [path for path in WATCHED if Path(path).exists()]
    status = _git("status", "--porcelain", "--untracked-files=all", "-z", "--", *watched) or ""
    return Commit(head.strip(), sorted(line[3:] for line in status.split("\0") if line[2:3] == " "))


def _makers(entries: Entries, reader: str, dep: dict[str, Any]) -> list[str]:
    """Stages whose outs are, hold or lie in the path that is read."""
    wanted = dep["path"]
    makers = []
    for name, entry in entries.items():
        for out, made in _hashes(entry, "outs").items():
            if out == wanted and made != dep.get("md5"):
                raise StepError(
                    f"{LOCK}: {name} has made another {out} since {reader} read it; "
                    f"run `dvc repro {reader}`"
                )
            if out == wanted or wanted.startswith(f"{out}/") or out.startswith(f"{wanted}/"):
                makers.append(name)
    return makers


def _hashes(entry: dict[str, Any], part: str) -> dict[str, Any]:
    return {item["path"]: item.get("md5") for item in entry.get(part, [])}


def _flat(value: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {above: value}
    dotted = ((f"{above}.{key}" if above else str(key), inner) for key, inner in value.items())
    return {name: leaf for at, inner in dotted for name, leaf in _flat(inner, at).items()}


def _live(graph: dict[str, Any]) -> set[str] | None:
    """Names of the stages in dvc.yaml; None where its lists are made in ways not read here."""
    known = _yaml(PARAMS, "run this from the project's own folder")
    names: set[str] = set()
    for name, stage in graph.get("stages", {}).items():
        if "foreach" in stage:
            lists = [_keys(stage["foreach"], known)]
        else:
            lists = [_keys(over, known) for over in stage.get("matrix", {}).values()]
        if any(keys is None for keys in lists):
            return None
        chosen = itertools.product(*(keys or [] for keys in lists))
        names |= {f"{name}@{'-'.join(keys)}" if keys else name for keys in chosen}
    return names


def _keys(over: Any, known: dict[str, Any]) -> list[str] | None:
    """What a `foreach` or a dimension of a `matrix` goes over; `${a.b}` is looked up in params."""
    if isinstance(over, str):
        found: Any = known
        for part in over.removeprefix("${").removesuffix("}").split("."):
            found = found.get(part) if isinstance(found, dict) else None
        over = found
    plain = isinstance(over, dict) or (
        isinstance(over, list) and not any(isinstance(item, dict | list) for item in over)
    )
    return [str(item) for item in over] if plain else None


def _yaml(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER) or {}
    except FileNotFoundError:
        raise StepError(f"no {path} here; {otherwise}") from None
    except yaml.YAMLError as error:
        raise StepError(f"{path} is not YAML: {error}") from None


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one reads a large lock 8x faster


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout
