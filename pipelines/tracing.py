"""Where a version comes from, and which versions saw a corpus or a file.

`trace` answers `outplant lineage`, `uses` answers `outplant uses`; both from what was registered
with each version and from the record, so that dvc.lock may have moved on.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import learnt, lineage, record, registry, traces
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.files import read_json, read_rows
from steps.core.params import choose, load

AT = re.compile(r"([^@]+)(?:@v?(\d+))?")
HEX = re.compile(r"[0-9a-f]{8,64}")
LEARNT, READ = "learnt from", "only read"
UNTRACED = "was registered before versions kept their stages; run `dvc repro` at its commit"


@dataclass(frozen=True)
class Use:
    """A version that saw something; `how`: its weights learnt from it, or it was only read.

    `champion`: now, before, or never. `found`: the corpora, sources and files that are meant.
    """

    task: str
    version: int
    recipe: str
    how: str
    champion: str
    commit: str
    found: list[str]


@dataclass(frozen=True)
class Uses:
    """What saw a thing; `known`: whether it is a name in params.yaml, or a hash; `untraced`:
    versions of which nobody knows.
    """

    what: str
    known: bool
    versions: list[Use] = field(default_factory=list)
    untraced: list[str] = field(default_factory=list)


def named(text: str) -> Version:
    """Return the version that TASK or TASK@VERSION means: of a task its champion, else its
    challenger.
    """
    parts = AT.fullmatch(text)
    if not parts:
        raise StepError(f"expected TASK or TASK@VERSION, such as entities@2; found {text!r}")
    task, number = parts.groups()
    if number is None:
        choose(task, load().tasks, "task")
        return registry.champion(task) or registry.version(task, None)
    return registry.version(task, int(number))


def trace(found: Version) -> dict[str, Any]:
    """Tell all that a version was made from, and what became of it."""
    folder = registry.trace(found)
    if folder is None:
        raise StepError(f"version {found.number} of {found.task} {UNTRACED}")
    kept = traces.read(folder)
    stages = kept["stages"]
    taught = learnt.learnt(stages, found.task, found.recipe)
    comparison = read_json(folder / "comparison.json")
    return {
        "task": found.task,
        "version": found.number,
        "lineage": found.lineage,
        "recipe": found.recipe,
        "seed": found.seed,
        "metric": found.metric,
        "score": found.score,
        "commit": found.commit,
        "dirty": list(found.dirty),
        "champion": _champions(found.task).get(found.lineage, "never"),
        "baseline": comparison["baseline"],
        "verdict": comparison["verdict"],
        "corpora": corpora(stages, taught),
        "sources": sources(kept, taught),
        "validation": _validation(read_json(folder / "validation.json")),
        "stages": {name: lineage.key({name: stages[name]}) for name in sorted(stages)},
        "params": lineage.params(stages),
        "moves": [e for e in record.read(found.task) if e["to"]["lineage"] == found.lineage],
    }


def corpora(stages: lineage.Entries, taught: set[str]) -> dict[str, dict[str, Any]]:
    """Name each corpus upstream with its version: the md5 of its documents."""
    return {
        name: {
            "documents": _out(stages[f"ingest_corpus@{name}"], f"data/documents/{name}"),
            "source": _source(stages[f"ingest_corpus@{name}"]),
            "learnt": f"ingest_corpus@{name}" in taught,
        }
        for name in learnt.names(set(stages), "ingest_corpus")
    }


def sources(kept: dict[str, Any], taught: set[str]) -> dict[str, dict[str, Any]]:
    """Name each source upstream with the md5 of its files, and what it pins."""
    return {
        name: {
            "raw": _out(kept["stages"][f"fetch@{name}"], f"data/raw/{name}"),
            "pins": kept["pins"].get(name, []),
            "learnt": f"fetch@{name}" in taught,
        }
        for name in learnt.names(set(kept["stages"]), "fetch")
    }


def uses(what: str) -> Uses:
    """Find every version of every task that saw a corpus, a source, or a file by path or hash."""
    params = load()
    known = what in params.corpora or what in params.sources
    wanted = what.lower().removesuffix(".dir")
    if not known and Path(what).is_file():
        wanted = traces.hashes(Path(what))[0]
    by_hash = not known and HEX.fullmatch(wanted) is not None
    found: list[Use] = []
    others: list[tuple[Version, dict[str, Any]]] = []
    untraced: list[str] = []
    hashes: set[str] = set()
    for version in registry.everything():
        folder = registry.trace(version)
        kept: dict[str, Any] = {"stages": {}, "unlisted": ["all"]}
        if folder:
            kept = traces.read(folder)
        if folder and by_hash:
            hits, matched = _by_hash(kept, read_rows(folder / traces.FILES), wanted)
            hashes |= matched
        else:
            hits = _by_name(kept["stages"], what)
        if hits:
            found.append(_use(version, kept["stages"], hits))
            continue
        if folder:
            others.append((version, kept))
        if not folder or (by_hash and kept["unlisted"]):
            untraced.append(f"{version.task}@{version.number}")
    if len(hashes) > 1:
        raise StepError(
            f"{what} begins {len(hashes)} hashes: {', '.join(sorted(hashes))}; say more"
        )
    return Uses(what, known or by_hash, found + handed_on(found, others), untraced)


def handed_on(found: list[Use], others: list[tuple[Version, dict[str, Any]]]) -> list[Use]:
    """Find what started at a version that learnt from it, near and far: a base may be one.

    An alias in the place of a number may have meant any version, and is taken for this one.
    """
    taught = [use for use in found if use.how == LEARNT]
    exact = {f"models:/{use.task}/{use.version}" for use in taught}
    alias = tuple(f"models:/{use.task}@" for use in taught)
    more, left = [], []
    for version, kept in others:
        pins = ((source, line) for source, lines in kept["pins"].items() for line in lines)
        hits = {
            f"fetch@{source}": f"{source} pins {line}"
            for source, line in pins
            if line in exact or line.startswith(alias)
        }
        if hits:
            more.append(_use(version, kept["stages"], hits))
        else:
            left.append((version, kept))
    return [*more, *handed_on(more, left)] if more else []


def _by_name(stages: lineage.Entries, name: str) -> dict[str, str]:
    """Stages of a corpus or a source, and how each is told."""
    kinds = {"ingest_corpus": "corpus", "fetch": "source"}
    said = {f"{kind}@{name}": f"{word} {name}" for kind, word in kinds.items()}
    return {stage: text for stage, text in said.items() if stage in stages}


def _by_hash(
    kept: dict[str, Any], files: list[dict[str, Any]], start: str
) -> tuple[dict[str, str], set[str]]:
    """Stages that brought a file, pinned it, or made a folder of that hash; and the full hashes."""
    hits: dict[str, str] = {}
    full = set()
    for row in files:
        for kind in ("md5", "sha256"):
            if row[kind].startswith(start):
                hits[f"fetch@{row['source']}"] = f"{row['source']}: {row['path']}"
                full.add(row["sha256"])
    for name, lines in kept["pins"].items():
        for line in lines:
            for word in re.findall(r"[0-9a-f]{32,64}", line):
                if word.startswith(start):
                    hits[f"fetch@{name}"] = f"{name} pins {line}"
                    full.add(word)
    for stage, entry in kept["stages"].items():
        for out in entry.get("outs", []):
            if str(out.get("md5", "")).startswith(start):
                hits.setdefault(stage, str(out["path"]))
                full.add(out["md5"])
    return hits, full


def _use(found: Version, stages: lineage.Entries, hits: dict[str, str]) -> Use:
    taught = learnt.learnt(stages, found.task, found.recipe)
    how = LEARNT if taught.intersection(hits) else READ
    champion = _champions(found.task).get(found.lineage, "never")
    said = sorted(set(hits.values()))
    return Use(found.task, found.number, found.recipe, how, champion, found.commit, said)


def _champions(task: str) -> dict[str, str]:
    """Lineage -> whether it is the champion now, or was before."""
    lineages = [entry["to"]["lineage"] for entry in record.read(task)]
    return dict.fromkeys(lineages, "before") | dict.fromkeys(lineages[-1:], "now")


def _validation(verdict: dict[str, Any]) -> dict[str, Any]:
    failed = [r for r in verdict.get("results", []) if not r.get("success", True)]
    return {"success": verdict["success"], "failed": failed}


def _source(entry: dict[str, Any]) -> str:
    """The source that a stage reads, by the name of its folder."""
    raw = (dep["path"] for dep in entry.get("deps", []))
    return next(
        (path.removeprefix("data/raw/") for path in raw if path.startswith("data/raw/")), ""
    )


def _out(entry: dict[str, Any], path: str) -> str:
    return next((out["md5"] for out in entry.get("outs", []) if out["path"] == path), "")
