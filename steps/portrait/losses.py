"""What an ingestion did not keep, for the profile: the ledger, rejected records, duplicates."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.core.files import count_rows, read_batches
from steps.corpora.overlap import words
from steps.portrait.measured import BATCH_ROWS, Few, Row, record

ENDS = ("kept", "rejected", "duplicates")
SMALL = 0.01  # of what was read: smaller sources are folded into one row
LARGEST = 5  # clusters shown
AUDITED = 200  # near copies, at even distances, compared with what was kept of them
LEAST = 3  # of these shown
COMPARED = 20_000  # characters of a copy compared
TOKENS = 600  # of the two texts set side by side
AROUND = 7  # tokens of equal text shown around a difference
_BLANK_LINES = re.compile(r"\n\s*\n")
_TOKENS = re.compile(r"\s+|\S+")
Segment = tuple[str, bool]  # text, whether it differs


def balance(ledger: Mapping[str, Any], folder: Path, kept: str) -> dict[str, Any]:
    """Does the ledger add up, in sum and by source, and do the files hold what it says?"""
    files = {"kept": kept, "rejected": "rejected", "duplicates": "duplicates"}
    rows = {end: count_rows(folder / name) for end, name in files.items()}
    sources = list(ledger["sources"].values())
    adds_up = all(one["read"] == sum(one[end] for end in ENDS) for one in [ledger, *sources])
    sums = all(ledger[key] == sum(one[key] for one in sources) for key in ("read", *ENDS))
    reasons = sum(ledger["reasons"].values()) == ledger["rejected"]
    return {
        "adds_up": adds_up and sums and reasons,
        "files_agree": all(rows[end] == ledger[end] for end in ENDS),
        **{key: ledger[key] for key in ("read", *ENDS)},
        "rows": rows,
    }


def fold_sources(sources: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Sources by size, largest first; those below `SMALL` of what was read as one sum."""
    read = sum(one["read"] for one in sources.values())
    ranked = sorted(sources, key=lambda name: (-sources[name]["read"], name))
    small = [name for name in ranked if sources[name]["read"] < SMALL * read]
    if len(small) < 2:
        small = []
    keys = ("read", *ENDS)
    return {
        "number": len(sources),
        "shown": [{"name": name, **sources[name]} for name in ranked if name not in set(small)],
        "folded": len(small),
        "rest": {key: sum(sources[name][key] for name in small) for key in keys},
    }


def rejected_examples(folder: Path) -> dict[str, list[Row]]:
    """A few rejected records of each reason."""
    few = Few()
    for batch in read_batches(folder, BATCH_ROWS):
        few.offer(batch, enumerate(batch["reason"].to_pylist()))
    return few.get()


def clusters(duplicates: Path, kept: Path) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """Figures of the duplicate clusters, and pairs to look at.

    A cluster is a kept record with its copies; one takes 8 bytes of memory a copy.
    """
    keys, kinds = _keys(duplicates)
    found, copies = np.unique(keys, return_counts=True)
    order = np.lexsort((found, -copies))[:LARGEST]
    largest = dict(zip(found[order].tolist(), copies[order].tolist(), strict=True))
    members, near = _members(duplicates, set(largest), kinds["near"])
    texts = _kept(kept, {row["kept"] for row in [*members.values(), *near]})
    pairs = [_pair(row, texts) for row in near if row["kept"] in texts]
    figures = {
        "clusters": len(found),
        "copies": len(keys),
        "kinds": dict(kinds),
        "sizes": {str(size): n for size, n in sorted(Counter((copies + 1).tolist()).items())},
        "near_audited": len(pairs),
        "least_alike": round(min(pair["alike"] for pair in pairs), 4) if pairs else None,
    }
    shown = [
        _pair(members[key], texts) | {"copies": number}
        for key, number in largest.items()
        if members[key]["kept"] in texts
    ]
    least = sorted(pairs, key=lambda pair: (pair["alike"], pair["dropped"]["id"]))[:LEAST]
    return figures, {"largest": _side_by_side(shown), "least": _side_by_side(least)}


def _side_by_side(pairs: list[Row]) -> list[Row]:
    return [
        pair | {"sides": differences(pair["kept"]["text"], pair["dropped"]["text"])}
        for pair in pairs
    ]


def _keys(duplicates: Path) -> tuple[Any, Counter[str]]:
    """The clusters' ids as 8-byte hashes, one a copy, and how many copies of each kind."""
    parts, kinds = [np.empty(0, np.uint64)], Counter[str]()
    for batch in read_batches(duplicates, columns=["kept", "kind"]):
        parts.append(_hashes(batch["kept"]))
        kinds.update(batch["kind"].to_pylist())
    return np.concatenate(parts), kinds


def _hashes(ids: pa.Array) -> Any:
    made = b"".join(blake2b(one.encode(), digest_size=8).digest() for one in ids.to_pylist())
    return np.frombuffer(made, np.uint64)


def _members(
    duplicates: Path, largest: set[int], near: int
) -> tuple[dict[int, Row], Sequence[Row]]:
    """One copy of each of the largest clusters (a near one, if any), and near copies evenly."""
    members: dict[int, Row] = {}
    sample: list[Row] = []
    number, audited = count(), min(AUDITED, near)
    wanted = {place * near // audited for place in range(audited)}
    asked = np.array(sorted(largest), np.uint64)
    for batch in read_batches(duplicates, BATCH_ROWS):
        kinds, keys = batch["kind"].to_pylist(), _hashes(batch["kept"])
        for place in np.flatnonzero(np.isin(keys, asked)):
            key = int(keys[place])
            if key not in members or (members[key]["kind"] != "near" == kinds[place]):
                members[key] = record(batch, int(place))
        places = [place for place, kind in enumerate(kinds) if kind == "near"]
        sample += [record(batch, place) for place in places if next(number) in wanted]
    return members, sample


def _kept(folder: Path, ids: set[str]) -> dict[str, Row]:
    """The kept records with these ids."""
    found: dict[str, Row] = {}
    asked = pa.array(sorted(ids), pa.string())
    for batch in read_batches(folder, BATCH_ROWS, ["id", "source", "group", "text"]):
        rows = batch.filter(pc.is_in(batch["id"], value_set=asked)).to_pylist()
        found |= {row["id"]: row for row in rows}
    return found


def _pair(copy: Row, texts: Mapping[str, Row]) -> Row:
    kept = texts[copy["kept"]]
    return {"kept": kept, "dropped": copy, "alike": alike(kept["text"], copy["text"])}


def alike(left: str, right: str) -> float:
    """Share of the words that two texts have in common, each as often as it stands, 0 to 1."""
    one, two = Counter(words(left[:COMPARED])), Counter(words(right[:COMPARED]))
    both = (one | two).total()
    return (one & two).total() / both if both else 1.0


def differences(left: str, right: str) -> tuple[list[Segment], list[Segment]]:
    """Both texts in segments that differ or not; long runs of equal text are cut short."""
    one, two = (_TOKENS.findall(text[:COMPARED])[:TOKENS] for text in (left, right))
    codes = SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    if all(code == "equal" for code, *_ in codes):
        return _head(one), _head(two)
    runs = [(code != "equal", one[a:b], two[c:d]) for code, a, b, c, d in codes]
    return _segments((d, part) for d, part, _ in runs), _segments((d, p) for d, _, p in runs)


def _head(tokens: Sequence[str]) -> list[Segment]:
    text = _BLANK_LINES.sub("\n", "".join(tokens[: 8 * AROUND]))
    return [(text + (" …" if len(tokens) > 8 * AROUND else ""), False)]


def _segments(runs: Iterable[tuple[bool, list[str]]]) -> list[Segment]:
    made = [("".join(_short(part, differs)), differs) for differs, part in runs if part]
    bare = [(text, differs and not text.isspace()) for text, differs in made[: 4 * AROUND]]
    return [(_BLANK_LINES.sub("\n", text), differs) for text, differs in bare]


def _short(tokens: list[str], differs: bool) -> list[str]:
    """At most so many tokens on both sides of what is left out; of a difference, more."""
    room = AROUND * (4 if differs else 1)
    return tokens if len(tokens) <= 2 * room + 1 else [*tokens[:room], " … ", *tokens[-room:]]
