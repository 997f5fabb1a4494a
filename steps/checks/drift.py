"""A corpus beside another one: shared vocabulary, and drift from the last released version.

A released version is a small JSON file in git, so that it is there without the data:
`outplant release CORPUS` writes it, the stage `validate` compares with it.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from steps.checks.measures import SHOWN, Dataset, Measured, records
from steps.core.entry import StepError
from steps.core.files import read_json
from steps.corpora import vocabulary

RELEASED = Path("infra/released")
VOCABULARIES = Path("data/profiles/corpora")


def released(data: Dataset, md5: str) -> dict[str, Any]:
    """Describe a corpus as a version to compare with; `md5`: what DVC calls its bytes."""
    ledger = {name: data.ledger[name] for name in ("read", "kept", "rejected", "duplicates")}
    return {"corpus": data.name, "md5": md5, "ledger": ledger, **asdict(data.summary)}


def vocabulary_overlap(data: Dataset, other: str) -> Measured:
    """Share of the top-10k words that are among the other's (Gururangan et al. 2020, figure 2)."""
    here, there = data.summary.vocabulary, _vocabulary(data, other)
    if not here or not there:
        raise StepError(f"no words in {data.name if there else other}")
    missing = [word for word in here if word not in there]
    most = f", of the others most frequent: {', '.join(missing[:SHOWN])}" if missing else ""
    shared = len(here) - len(missing)
    return Measured(
        vocabulary.overlap(here, there), f"{shared} of {len(here)} words are in {other}{most}"
    )


def drift(data: Dataset, of: str | None) -> Measured:
    """Jensen-Shannon divergence (Lin 1991) from the last released version, in bits, 0 to 1.

    Of the distribution of words and of that of lengths; without `of` the larger one counts.
    """
    if data.part != "documents":
        raise StepError("no released versions: they are of corpora only")
    path = RELEASED / f"{data.name}.json"
    if not path.is_file():
        say = f"no released version yet; `outplant release {data.name}` makes one"
        return Measured(None, say)
    last, now = read_json(path), data.summary
    found = {
        "words": vocabulary.divergence(now.vocabulary, last["vocabulary"]),
        "lengths": vocabulary.divergence(now.lengths, last["lengths"]),
    }
    said = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
    moved = most_moved(now.vocabulary, last["vocabulary"])
    detail = f"{said}; words that moved most: {', '.join(moved) or 'none'}"
    return Measured(found[of] if of else max(found.values()), detail)


def most_moved(now: dict[str, int], last: dict[str, int]) -> list[str]:
    """The words whose share changed most."""
    totals = sum(now.values()) or 1, sum(last.values()) or 1
    changes = {
        word: now.get(word, 0) / totals[0] - last.get(word, 0) / totals[1] for word in now | last
    }
    ranked = sorted((-abs(change), word, change) for word, change in changes.items() if change)
    return [f"{'+' if change > 0 else '-'}{word}" for _, word, change in ranked[:SHOWN]]


def _vocabulary(data: Dataset, other: str) -> dict[str, int]:
    """A JSON of a vocabulary or of a released version, a folder of texts, a corpus by its name."""
    path = Path(other)
    if path.is_dir():
        parts = [path / part for part in ("documents", "examples") if (path / part).is_dir()]
        texts = (one["text"] for one in records((parts or [path])[0], ["text"]))
        return vocabulary.count(texts)
    if path.suffix != ".json":
        if data.part == "documents":  # profiles come after validation: corpora would wait in a ring
            known = RELEASED / f"{other}.json"
            raise StepError(f"no folder {other!r}; another corpus is named by its version: {known}")
        path = VOCABULARIES / other / "vocabulary.json"
    found = read_json(path)
    if isinstance(found, dict) and isinstance(found.get("vocabulary"), dict):
        found = found["vocabulary"]
    if not isinstance(found, dict) or not all(isinstance(n, int) for n in found.values()):
        raise StepError(f"{path} is no vocabulary; expected a number for each word")
    return found
