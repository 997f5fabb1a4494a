"""Prose for the bench, in any amount, with copies planted whose true similarity is known.

A record's group says what it is: "prose:N", "exact:N:M" (a copy of record M), "near:N:M" (words of
it changed, Jaccard similarity 0.8 or more) and "apart:N:M" (more changed, 0.5 to 0.75: no copy).
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps import readers
from steps.core.files import read_batches, write_json
from steps.core.params import load
from steps.fetch import fetch
from steps.readers.files import files

UNITS = 4  # copies of the prose in x1
SHARE = 0.05  # of the records that get a copy of each kind
SHORTEST = 80  # words of a record that is copied
FIXED = 300  # most frequent words that keep their places: stop words make the language
FILE_BYTES = 16_000_000
RESERVOIR = 20_000  # records that copies are drawn from
WORDS = 5  # of a shingle
LIKE = {"exact": (1.0, 1.0), "near": (0.8, 0.999), "apart": (0.5, 0.75)}  # Jaccard similarity


class Prose:
    """The demo's prose as word numbers; a copy has the rarer words of a length change places."""

    def __init__(self, texts: list[str]) -> None:
        tokens = [re.findall(r"[A-Za-z]+|[^A-Za-z]+", text) for text in texts]
        self._edges = pa.array(np.cumsum([0, *map(len, tokens)]), pa.int32())
        coded = pa.array([token for one in tokens for token in one]).dictionary_encode()
        self._numbers = coded.indices.to_numpy()
        self._words = coded.dictionary.to_numpy(zero_copy_only=False)
        self._classes = self._of_a_length()

    def _of_a_length(self) -> list[Any]:
        counts = np.bincount(self._numbers)
        classes: dict[int, list[int]] = {}
        for number in np.argsort(-counts, kind="stable")[FIXED:].tolist():
            if self._words[number].isalpha() and len(self._words[number]) > 3:
                classes.setdefault(len(self._words[number]), []).append(number)
        return [np.array(found) for found in classes.values()]

    def copy(self, seed: int) -> list[str]:
        """Return the texts with their rarer words exchanged; 0 gives them as they are."""
        words = self._words.copy()
        draw = np.random.default_rng(seed)
        for numbers in self._classes if seed else ():
            words[numbers] = self._words[draw.permutation(numbers)]
        tokens = pa.array(words, pa.string()).take(pa.array(self._numbers))
        joined = pc.binary_join(pa.ListArray.from_arrays(self._edges, tokens), "")
        found: list[str] = joined.to_pylist()
        return found


def make(folder: Path, size: int) -> None:
    """Write folder/raw/*.jsonl, `size` times about 52 MB of text; the same bytes each time."""
    prose = Prose(_texts(folder.parent / "prose"))
    with Output(folder / "raw") as out:
        draw, earlier = random.Random(size), []
        for unit in range(size * UNITS):
            for text in prose.copy(unit):
                number = out.write("prose", text)
                if text.count(" ") > SHORTEST and len(earlier) < RESERVOIR:
                    earlier.append((number, text))
                elif text.count(" ") > SHORTEST and draw.random() < 0.1:
                    earlier[draw.randrange(RESERVOIR)] = (number, text)
                for kind, bounds in LIKE.items():
                    if draw.random() < SHARE and earlier:
                        first, original = draw.choice(earlier)
                        out.write(kind, like(original, *bounds, draw), first)
    write_json(folder / "sizes.json", {"text_bytes": out.text_bytes, "planted": out.counts})


class Output:
    """Files of JSON lines of a bounded size."""

    def __init__(self, raw: Path) -> None:
        self._raw, self._file, self._left, self._part = raw, None, 0, 0
        self._number = self.text_bytes = 0
        self.counts: Counter[str] = Counter()
        raw.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, kind: str, text: str, first: int | None = None) -> int:
        """Append a record; returns its number."""
        if self._left <= 0:
            self._file = self._next()
        group = f"{kind}:{self._number}" + ("" if first is None else f":{first}")
        line = json.dumps({"text": text, "group": group, "source": "prose"}, ensure_ascii=False)
        self._file.write(line + "\n")
        size = len(text.encode())
        self._left -= size
        self.text_bytes += size
        self.counts[kind] += 1
        self._number += 1
        return self._number - 1

    def _next(self) -> TextIO:
        self.__exit__()
        self._left, self._part = FILE_BYTES, self._part + 1
        return (self._raw / f"{self._part:05}.jsonl").open("w", encoding="utf-8")


def like(text: str, least: float, most: float, draw: random.Random) -> str:
    """Change words until the similarity with the text lies between the two."""
    words = text.split(" ")
    wanted = draw.uniform(least, most)
    changes = round(len(words) * (1 - wanted) / (1 + wanted) / WORDS)  # each changes WORDS runs
    while least < 1:
        changed = list(words)
        for place in draw.sample(range(len(words)), max(1, changes)):
            changed[place] = draw.choice(words) + draw.choice("aeiou")
        found = similarity(text, " ".join(changed))
        if least <= found <= most:
            return " ".join(changed)
        changes += 1 if found > most else -1
    return text


def similarity(left: str, right: str) -> float:
    """True Jaccard similarity of the runs of five words."""
    one, other = (
        {tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)}
        for words in (left.lower().split(), right.lower().split())
    )
    return len(one & other) / len(one | other)


def short(folder: Path, count: int) -> None:
    """Write so many records of eleven words, one in ten of them a copy."""
    draw = np.random.default_rng(1)
    words = ["".join(letters) for letters in product("bdfgklmnprst", "aeiou", "lmnrst", "aeiou")]
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    size = 0
    for part in range(0, count, 250_000):
        lines = []
        for row in draw.integers(0, len(words), (min(250_000, count - part), 7)).tolist():
            if lines and draw.random() < 0.1:
                lines.append(lines[-1])
            else:
                text = "the {} of {} and {} with {} {} {} {}".format(*(words[n] for n in row))
                lines.append(json.dumps({"text": text}))
        (folder / "raw" / f"{part:09}.jsonl").write_text("\n".join(lines) + "\n")
        size += sum(len(line) - 12 for line in lines)
    write_json(folder / "sizes.json", {"text_bytes": size, "planted": {}})


def judge(folder: Path, out: Path) -> dict[str, int]:
    """Count the planted near copies that were found, and the planted others that went as copies."""
    columns = ["id", "group"]
    kept = {row["id"]: row["group"].split(":")[1] for row in _rows(out / "documents", columns)}
    stays = {number: number for number in kept.values()}  # a record -> the one kept of its kind
    for row in _rows(out / "duplicates", ["group", "kept"]):
        stays[row["group"].split(":")[1]] = kept[row["kept"]]
    found: Counter[str] = Counter()
    for kind, number, first in _planted(folder / "raw"):
        if number in stays and first in stays:  # both got through the filters
            found[kind] += 1
            found[f"{kind} joined"] += stays[number] == stays[first]
    return {
        "planted": found["near"],
        "found": found["near joined"],
        "apart": found["apart"],
        "wrong": found["apart joined"],
    }


def _rows(path: Path, columns: list[str]) -> Iterator[Any]:
    for batch in read_batches(path, columns=columns):
        yield from batch.to_pylist()


def _planted(raw: Path) -> Iterator[list[str]]:
    for file in sorted(raw.glob("*.jsonl")):
        for line in file.open(encoding="utf-8"):
            if '"group": "prose:' not in line:
                yield json.loads(line)["group"].split(":")


def _texts(raw: Path) -> list[str]:
    """The demo's documents, fetched if they are not there."""
    if not raw.exists():
        fetch(load().sources["pydocs"], raw)
    reader = readers.load("rst")
    found = files(raw, reader.SUFFIXES)
    texts = (r["text"] for file in found for r in reader.read(file, reader.Options()))
    return [text for text in dict.fromkeys(texts) if len(text.split()) >= 20]
