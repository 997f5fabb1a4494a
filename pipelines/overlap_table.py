"""What `outplant overlap` found, for people: counts, and pairs side by side."""

from collections.abc import Callable
from difflib import SequenceMatcher
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.overlap import Overlap, Pair
from steps.corpora.indexes import SHORTEST
from steps.corpora.matching import Rules
from steps.corpora.overlap import words

SIDE_BY_SIDE = 80  # columns of a terminal; on narrower ones LEFT is above RIGHT
WORDS = 45  # shown of a text
BEFORE = 5  # words shown before what both have
STYLES = ("bold red", "bold green")
MARKS = (("[-", "-]"), ("{+", "+}"))  # as wdiff writes them, where there are no colours


def show(found: Overlap, out: TextIO) -> None:
    """Print the counts and the pairs; what only one side has stands out."""
    console = Console(file=out, highlight=False)
    console.print(_counts(found))
    if not found.counts["near"]:
        console.print("No text of RIGHT was found in LEFT.")
    for pair in found.pairs:
        sides = _sides(pair, console.is_terminal and not console.no_color)
        console.print(_wide(pair, sides) if console.width >= SIDE_BY_SIDE else _high(pair, sides))


def _counts(found: Overlap) -> Table:
    title = f"{found.right:,} records of RIGHT, looked for in {found.left:,} of LEFT"
    table = Table(title=title, title_justify="left", expand=False)
    table.add_column("level")
    table.add_column("records", justify="right")
    table.add_column("share", justify="right")
    table.add_column("their text stands in LEFT (each level has the one before)")
    for level, meaning in _meanings(found.rules).items():
        count = found.counts[level]
        table.add_row(level, f"{count:,}", f"{count / max(1, found.right):.1%}", meaning)
    return table


def _meanings(rules: Rules) -> dict[str, str]:
    share = f"{rules.containment:.0%} of its runs" if rules.containment else "a run"
    return {
        "exact": "the same string, white space at its ends aside",
        "normalised": "the same but for case, white space and Unicode composition (NFC)",
        "contained": f"{share} of {rules.ngram} words is in one record; a shorter text, of"
        f" {SHORTEST} words at least, is there whole; punctuation aside",
        "near": f"Jaccard similarity of its word pairs with a record >= {rules.near:g}",
    }


def _sides(pair: Pair, colours: bool) -> tuple[Text, Text]:
    """Cut both texts to where they meet, and mark what only one of them has."""
    left, right = _cut(pair.left.split(), pair.right.split())
    made = (Text(), Text())
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for side, part in enumerate((left[a:b], right[c:d])):
            if part:
                _append(made[side], " ".join(part), kind != "equal", side if colours else side - 2)
    return made


def _append(made: Text, part: str, differs: bool, side: int) -> None:
    """Append words; `side` is 0 or 1 with colours, -2 or -1 without."""
    start, end = MARKS[side] if differs and side < 0 else ("", "")
    if made:
        made.append(" ")
    made.append(f"{start}{part}{end}", STYLES[side] if differs and side >= 0 else None)


def _cut(left: list[str], right: list[str]) -> tuple[list[str], list[str]]:
    """Begin both a little before the first run of words that they share."""
    key: Callable[[str], str] = lambda word: " ".join(words(word))  # noqa: E731
    keys = [[key(word) for word in side] for side in (left, right)]
    starts = (0, 0)
    for size in (SHORTEST, 2):
        runs = {tuple(keys[1][at : at + size]): at for at in reversed(range(len(right) - size + 1))}
        shared = (
            (at, runs[run])
            for at in range(len(left) - size + 1)
            if (run := tuple(keys[0][at : at + size])) in runs
        )
        if found := next(shared, None):
            starts = found
            break
    before = min(starts) if max(starts) <= BEFORE else BEFORE
    return (
        _excerpt(left, max(0, starts[0] - before)),
        _excerpt(right, max(0, starts[1] - before)),
    )


def _excerpt(side: list[str], start: int) -> list[str]:
    shown = side[start : start + WORDS]
    return ["…"] * (start > 0) + shown + ["…"] * (start + len(shown) < len(side))


def _wide(pair: Pair, sides: tuple[Text, Text]) -> Table:
    table = Table(title=pair.level, title_justify="left", expand=True)
    for name, place in (("LEFT", pair.left_place), ("RIGHT", pair.right_place)):
        table.add_column(Text(f"{name} {place}"), ratio=1, overflow="fold")
    table.add_row(*sides)
    return table


def _high(pair: Pair, sides: tuple[Text, Text]) -> Table:
    table = Table(title=pair.level, title_justify="left", expand=True, show_header=False)
    table.add_column(overflow="fold")
    for name, place, text in (
        ("LEFT", pair.left_place, sides[0]),
        ("RIGHT", pair.right_place, sides[1]),
    ):
        table.add_row(Text(f"{name} {place}", style="dim"))
        table.add_row(text, end_section=True)
    return table
