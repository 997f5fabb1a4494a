"""How many records of RIGHT have their text in LEFT: `outplant overlap`, for anyone's files."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from steps import readers
from steps.core.entry import StepError
from steps.core.progress import Bar
from steps.corpora.matching import LEVELS, Match, Rules, compare, count
from steps.readers.files import File, files, lines

RULES = Rules(ngram=13, containment=0.0, near=0.8)
PAIRS = 10
PEEKED = 200  # lines that are looked at to tell what a file is like
READER_OF = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "table", ".tsv": "table", ".parquet": "parquet",
    ".json": "squad", ".po": "po", ".conllu": "conll_u", ".conll": "conll", ".iob": "conll",
    ".bio": "conll", ".rst": "rst", ".txt": "text", ".md": "text",
}  # fmt: skip
NAMED = ("jsonl", "table", "parquet")  # whose options say what the text is called
ABOUT_ANNOTATION = {  # reasons against a record whose text is sound
    "bad_labels", "bad_score", "bad_spans", "bad_answers", "unknown_split", "fuzzy", "untranslated",
    "obsolete", "no_id", "duplicate_id", "answer_offset", "no_answers", "impossible_with_answers",
}  # fmt: skip
TAGS = {"tag_scheme", "unknown_tag"}  # reasons of a sentence whose words can be read all the same


class Pair(NamedTuple):
    """A record of RIGHT and the one of LEFT that it matches; `level` is a name of LEVELS."""

    level: str
    left_place: str
    left: str
    right_place: str
    right: str


@dataclass(frozen=True)
class Overlap:
    """Counts of RIGHT's records, each level including the one before, and pairs to look at."""

    left: int
    right: int
    counts: dict[str, int]
    pairs: list[Pair]
    rules: Rules

    def as_json(self) -> dict[str, int]:
        """As `--json` prints it."""
        return {"left": self.left, "right": self.right} | self.counts


@dataclass
class Side:
    """LEFT or RIGHT as it is read; what cannot be read of it is counted by reason."""

    path: Path
    wanted: str | None
    records: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    said: set[str] = field(default_factory=set)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield place and text of each record; StepError where there is none."""
        found = _files(self.path)
        with Bar(f"read {self.path} (MB)", sum(file.size for file in found) >> 20) as bar:
            before = 0
            for file in found:
                done = 0
                for place, text in self._records(file):
                    done = min(done + len(text), file.size)
                    if (before + done) >> 20 > bar.done:
                        bar.advance(((before + done) >> 20) - bar.done)
                    yield place, text
                before += file.size
        if not self.records:
            why = ", ".join(f"{n} {reason}" for reason, n in self.unread.most_common(5))
            raise StepError(
                f"{self.path} has no record with text ({why or 'nothing is in it'}); expected files"
                f" that end in {' '.join(READER_OF)}, in their formats"
            )

    def _records(self, file: File) -> Iterator[tuple[str, str]]:
        name, options = self._reader(file)
        for record in readers.load(name).read(file, readers.options(name, options, file.name)):
            text, reason = self._text(record, name)
            if reason or not text.strip():
                self.unread[reason or "empty"] += 1
                continue
            self.records += 1
            yield record["place"], text

    def _text(self, record: dict[str, Any], reader: str) -> tuple[str, str]:
        reason = record.get("reason", "")
        if reader == "conll" and reason in TAGS:
            sentence = (line.split() for line in record["text"].splitlines())
            return " ".join(line[0] for line in sentence if line), ""
        if reason and reason not in ABOUT_ANNOTATION:
            return "", reason
        if self.wanted is None or reader in NAMED:
            return record["text"], ""
        if self.wanted in record:
            return record[self.wanted], ""
        there = ", ".join(sorted({"text", "question", "target"} & record.keys()))
        if reason:
            return "", reason
        raise StepError(f"{record['place']}: no field {self.wanted!r}; it has: {there}")

    def _reader(self, file: File) -> tuple[str, dict[str, Any]]:
        """Choose reader and options by the file's name, and by how it begins."""
        name = READER_OF[PurePosixPath(file.name).suffix.lower()]
        options: dict[str, Any] = {"text": self.wanted} if self.wanted and name in NAMED else {}
        if name == "jsonl":
            _check_field(file, self.wanted or "text")
        elif name == "conll":
            options = {"columns": _columns(file)}
        elif name == "text":
            name, options = self._plain_text(file)
        return name, options

    def _plain_text(self, file: File) -> tuple[str, dict[str, Any]]:
        """Blank lines at the beginning of the file, with text on both sides, part its records."""
        there = [bool(line.text.strip()) for line in islice(lines(file), PEEKED)]
        inner = "".join("x" if text else " " for text in there).strip()
        parted = " " in inner or file.name.lower().endswith(".md")
        by = "blank lines part its records" if parted else "a record is a line"
        if by not in self.said:
            self.said.add(by)
            print(f"{file.name}: {by}", file=sys.stderr)
        return ("text", {"mode": "blank_lines"}) if parted else ("lines", {})


def overlap(left: Path, right: Path, text: str | None = None, rules: Rules = RULES) -> Overlap:
    """Compare two files or folders; `text` names the field. RIGHT is held in memory, not LEFT."""
    _check_rules(rules)
    for path in (left, right):
        _files(path)
    sides = Side(left, text), Side(right, text)
    looked_for = list(sides[1].texts())
    matches = compare(sides[0].texts(), [one for _, one in looked_for], rules)
    for side in sides:
        _say_unread(side)
    pairs = _pairs(looked_for, matches)
    return Overlap(sides[0].records, sides[1].records, count(matches), pairs, rules)


def _check_rules(rules: Rules) -> None:
    for name, value, right in (
        ("ngram", rules.ngram, 2 <= rules.ngram <= 100),
        ("containment", rules.containment, 0 <= rules.containment <= 1),
        ("near", rules.near, 0 < rules.near <= 1),
    ):
        if not right:
            takes = "2 to 100 words" if name == "ngram" else "a share up to 1"
            raise StepError(f"--{name} is {value:g}; it takes {takes}")


def _files(path: Path) -> list[File]:
    """List what can be read of a file or folder; StepError where nothing can."""
    there = files(path, ())
    found = [file for file in there if PurePosixPath(file.name).suffix.lower() in READER_OF]
    if not found:
        names = ", ".join(file.name for file in there[:3]) or "no files"
        raise StepError(
            f"{path}: no file of a known format (found {names}); expected a name that ends in"
            f" {' '.join(READER_OF)}, packed by gz, zst, zip or tar or not"
        )
    return found


def _check_field(file: File, name: str) -> None:
    """StepError where no line at the beginning of the file has the field."""
    known: dict[str, None] = {}
    for line in islice(lines(file), PEEKED):
        try:
            row = json.loads(line.text)
        except (ValueError, RecursionError):
            continue
        known |= dict.fromkeys(row if isinstance(row, dict) else ())
    if known and name.partition(".")[0] not in known and name not in known:
        raise StepError(
            f"{file.name}: no field {name!r}; it has: {', '.join(known)}; say --text FIELD"
        )


def _columns(file: File) -> list[str]:
    """The word is the first column, the tag the last."""
    rows = (line.text.split() for line in islice(lines(file), PEEKED))
    width = Counter(len(row) for row in rows if row and row[0] != "-DOCSTART-").most_common(1)
    return ["word", *["_"] * (max(2, width[0][0] if width else 2) - 2), "tag"]


def _say_unread(side: Side) -> None:
    if side.unread:
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(side.unread.items()))
        print(f"{side.path}: {side.unread.total()} records were not read: {why}", file=sys.stderr)


def _pairs(right: list[tuple[str, str]], matches: list[Match | None]) -> list[Pair]:
    """Choose pairs of all levels in turn, and list them by level."""
    by_level: list[list[Pair]] = [[] for _ in LEVELS]
    seen = set()
    for (place, text), match in zip(right, matches, strict=True):
        if match and match.text and text not in seen:
            seen.add(text)
            pair = Pair(LEVELS[match.level], match.place, match.text, place, text)
            by_level[match.level].append(pair)
    turns = [
        (turn, level, pair) for level, some in enumerate(by_level) for turn, pair in enumerate(some)
    ]
    chosen = sorted(turns, key=lambda found: found[:2])[:PAIRS]
    return [pair for _, _, pair in sorted(chosen, key=lambda found: (found[1], found[0]))]
