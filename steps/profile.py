"""Stage `profile`: documents or examples -> what is in them, as figures and as one page to look at.

    python -m steps.profile corpus NAME DOCUMENTS START OUT
    python -m steps.profile task NAME EXAMPLES START OUT
    python -m steps.profile overlap PROFILES OUT

START is a base's folder: of it the tokenizer is read. OUT gets profile.json, vocabulary.json and
profile.html. `overlap` compares all vocabularies below PROFILES, as in Gururangan et al. 2020,
"Don't Stop Pretraining", figure 2.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from steps.core.entry import StepError, run
from steps.core.files import read_json, whole, write_json, write_text
from steps.core.tokenizer import read_tokenizer
from steps.corpora.vocabulary import divergence, overlap
from steps.portrait import annotated, losses, measured, words
from steps.portrait.page import render, render_overlap
from steps.portrait.remarks import remarks

FOLDERS = {"corpus": "documents", "task": "examples"}
DOCUMENTS_SHOWN = 5
MISSING = 12  # words shown that one vocabulary has and the other lacks


def profile(
    role: str, name: str, source: Path, start: Path
) -> tuple[dict[str, Any], dict[str, int], dict[str, Any]]:
    """Return the figures, the vocabulary, and the records to show."""
    records = source / FOLDERS[role]
    tokenizer, unknown = read_tokenizer(start)
    ledger = read_json(source / "ledger.json")
    columns = measured.columns(records)
    tally = measured.measure(records, annotated.count)
    vocabulary, step = words.count_words(records, tally.sizes["bytes"])
    tokens, pieces = words.read_as_tokens(records, tokenizer, unknown)
    clusters, pairs = losses.clusters(source / "duplicates", records)
    figures = {
        "name": name,
        "role": role,
        "columns": [name for name in columns if name in annotated.COLUMNS],
        **measured.figures(tally, annotated.checks(columns)),
        "ledger": losses.balance(ledger, source, FOLDERS[role]),
        "rejected": {"reasons": ledger["reasons"]},
        "sources": losses.fold_sources(ledger["sources"]),
        "masked": {"types": ledger["masked"], "records": ledger.get("masked_records")},
        "conflicts": ledger.get("conflicts", 0),
        "duplicates": clusters,
        "tokenizer": {**tokens, "unknown_pieces": pieces},
        "vocabulary": {"words": len(vocabulary), "each": step},
        "words": words.split_words(vocabulary, tokenizer),
    }
    exhibits = {
        "documents": measured.drawn(records, DOCUMENTS_SHOWN),
        "labels": tally.few.get(),
        "rejected": losses.rejected_examples(source / "rejected"),
        "pairs": pairs,
    }
    return figures | {"remarks": remarks(figures)}, vocabulary, exhibits


def compare(vocabularies: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Overlap and divergence of each two, and what words make the difference."""
    measures: dict[str, Callable[..., Any]] = {
        "overlap": overlap,
        "covered": _covered,
        "divergence": divergence,
    }
    measures["missing"] = _missing
    return {
        "names": list(vocabularies),
        "words": {name: len(counts) for name, counts in vocabularies.items()},
        **{
            what: {
                left: {right: measure(one, other) for right, other in vocabularies.items()}
                for left, one in vocabularies.items()
            }
            for what, measure in measures.items()
        },
    }


def _covered(left: dict[str, int], right: dict[str, int]) -> float:
    """Share of the left one's running words that the right one has."""
    return sum(n for word, n in left.items() if word in right) / (sum(left.values()) or 1)


def _missing(left: dict[str, int], right: dict[str, int]) -> list[str]:
    return [word for word in left if word not in right][:MISSING]


def read_vocabularies(profiles: Path) -> dict[str, dict[str, int]]:
    """All vocabulary.json below a folder, named by their own folders."""
    files = sorted(profiles.rglob("vocabulary.json"))
    if not files:
        raise StepError(
            f"no vocabulary.json below {profiles}; make one by "
            "`python -m steps.profile corpus NAME DOCUMENTS START OUT`"
        )
    return {file.parent.relative_to(profiles).as_posix(): _ranked(file) for file in files}


def _ranked(file: Path) -> dict[str, int]:
    """Most frequent words first: the file has them by the alphabet."""
    counts = read_json(file)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def write_profile(role: str, name: str, source: Path, start: Path, out: Path) -> None:
    """Write the profile of a corpus or task."""
    figures, vocabulary, exhibits = profile(role, name, source, start)
    with whole(out) as made:
        write_json(made / "profile.json", figures)
        write_json(made / "vocabulary.json", vocabulary)
        write_text(made / "profile.html", render(figures, exhibits))
    sizes = figures["sizes"]
    print(
        f"{name}: {sizes['records']:,} {FOLDERS[role]}, {sizes['words']:,} words, "
        f"{len(figures['remarks'])} remarks"
    )


def write_overlap(profiles: Path, out: Path) -> None:
    """Write the comparison of all vocabularies."""
    found = compare(read_vocabularies(profiles))
    with whole(out) as made:
        write_json(made / "overlap.json", found)
        write_text(made / "overlap.html", render_overlap(found))
    print(f"{len(found['names'])} vocabularies compared")


def main(what: str, arguments: list[str]) -> None:
    forms = {role: ["NAME", folder.upper(), "START", "OUT"] for role, folder in FOLDERS.items()}
    forms["overlap"] = ["PROFILES", "OUT"]
    form = forms.get(what)
    if form is None or len(arguments) != len(form):
        said = "; ".join(f"{name} {' '.join(form)}" for name, form in forms.items())
        raise StepError(f"expected {said}; found {what} with {len(arguments)} arguments")
    if what == "overlap":
        write_overlap(Path(arguments[0]), Path(arguments[1]))
    else:
        name, *paths = arguments
        source, start, out = map(Path, paths)
        write_profile(what, name, source, start, out)


if __name__ == "__main__":
    run(main)
