"""What formats of one word a line share: sentences as blocks of lines, and schemes of tags.

IOB1 and IOB2 are those of Tjong Kim Sang and Veenstra (1999), BIOES also known as IOBES and BILOU;
in the scheme `word` each tag is the label of its word alone, and "_" is none.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from steps.readers.files import File, Line, lines, place

Scheme = Literal["iob1", "iob2", "bioes", "io", "word"]
FORMS = {
    "iob1": {"B": "B", "I": "I"},
    "iob2": {"B": "B", "I": "I"},
    "bioes": {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"},
    "io": {"I": "I"},
}
MAX_CHARACTERS = 1 << 20  # of a sentence: a file without blank lines is no sentence


class Unreadable(Exception):
    """A sentence that has no sense: the reason, and which of its lines or words is at fault."""

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at


class Block(NamedTuple):
    """Lines that stand together, none of them blank; `reason`: why they cannot be read."""

    lines: list[Line]
    reason: str
    at: int  # which line has the reason

    def bad(self, file: File, error: Unreadable | None = None) -> dict[str, Any]:
        """What a bad record says of a block: its text as it stands, and the line at fault."""
        reason, at = (error.reason, error.at) if error else (self.reason, self.at)
        line = self.lines[min(at, len(self.lines) - 1)]
        text = "\n".join(line.text for line in self.lines)
        return place(file, line.number) | {"text": text, "reason": reason}


def blocks(file: File, alone: Callable[[str], bool]) -> Iterator[Block]:
    """Yield what blank lines part; a line that is `alone` is a block by itself."""
    waiting: list[Line] = []
    size = 0
    for line in lines(file):
        single = not line.reason and alone(line.text)
        if waiting and (single or not (line.text.strip() or line.reason)):
            yield _block(waiting, size)
            waiting, size = [], 0
        if single:
            yield _block([line], 0)
        elif line.text.strip() or line.reason:
            size += len(line.text)
            if size <= MAX_CHARACTERS or not waiting:
                waiting.append(line)
    if waiting:
        yield _block(waiting, size)


def _block(found: list[Line], size: int) -> Block:
    for at, line in enumerate(found):
        if line.reason:
            return Block(found, line.reason, at)
    return Block(found, "sentence_too_long" if size > MAX_CHARACTERS else "", 0)


def chunks(tags: list[str], scheme: Scheme) -> list[tuple[int, int, str]]:
    """Turn tags into (first word, last word + 1, label); Unreadable where the scheme is broken."""
    if scheme == "word":
        return [(at, at + 1, tag) for at, tag in enumerate(tags) if tag not in ("", "_")]
    found: list[tuple[int, int, str]] = []
    start, inside = 0, ""  # the label of the chunk that is open
    for at, tag in enumerate([*tags, "O"]):
        kind, label = _form(tag, scheme, at)
        goes_on = bool(inside) and label == inside
        if not _allowed(scheme, kind, bool(inside), goes_on):
            raise Unreadable("tag_scheme", at)
        if inside and not (goes_on and kind in "IE"):
            found.append((start, at, inside))
            inside = ""
        if not inside and kind != "O":
            start, inside = at, label
        if kind in "ES":
            found.append((start, at + 1, label))
            inside = ""
    return found


def _form(tag: str, scheme: Scheme, at: int) -> tuple[str, str]:
    """Split B-PER into B and PER; a bare PER is a tag of the scheme `io`."""
    if tag == "O":
        return "O", ""
    kind, dash, label = tag.partition("-")
    if dash and label and kind in FORMS[scheme]:
        return FORMS[scheme][kind], label
    if scheme == "io" and tag.strip("-_") and not (dash and kind in FORMS["bioes"]):
        return "I", tag
    raise Unreadable("unknown_tag", at)


def _allowed(scheme: Scheme, kind: str, inside: bool, goes_on: bool) -> bool:
    """Say whether a tag may stand here; `goes_on`: a chunk of its label is open."""
    if scheme == "iob1":
        return kind != "B" or goes_on  # B only parts two chunks that touch
    if scheme == "iob2":
        return kind != "I" or goes_on
    if scheme == "bioes":
        return goes_on and kind in "IE" if inside else kind in "OBS"
    return True


def offsets(
    words: list[tuple[int, int]], found: list[tuple[int, int, str]]
) -> list[dict[str, Any]]:
    """Turn chunks of words into spans of characters, given where each word starts and ends."""
    return [
        {"start": words[first][0], "end": words[last - 1][1], "label": label}
        for first, last, label in found
    ]
