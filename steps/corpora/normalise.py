"""Unicode NFC, no control characters, plain white space; the offsets of spans follow."""

import re
import unicodedata
from typing import Any

# Controls but tab and line ends, soft hyphens, zero-width spaces, directional marks, surrogates and
# not-characters. The joiners U+200C and U+200D stay: they change how Persian and Indic words read.
CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
SPACES = re.compile(r" ?[^\S ]\s*|  \s*")  # all but single blanks
BREAK = re.compile(r"\n[^\S\n]*\n")


def normalise(text: str) -> str:
    """Clean a text; paragraphs stay apart by one blank line, other white space is one blank."""
    return _clean(text).strip()


def normalise_spans(text: str, spans: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Clean a text and move its spans along; a span of which nothing is left goes.

    It is cleaned piece by piece between the spans' edges, so that each edge has its place after.
    """
    edges = sorted({0, len(text), *(span[key] for span in spans for key in ("start", "end"))})
    out, places = "", {}
    for at, after in zip(edges, [*edges[1:], len(text)], strict=True):
        places[at] = len(out)
        piece = _clean(text[at:after])
        if not out or out[-1].isspace():
            piece = piece.lstrip()
        out += piece
    moved = []
    for span in sorted(spans, key=lambda span: (span["start"], span["end"])):
        start, end = places[span["start"]], places[span["end"]]
        inside = out[start:end]
        start += len(inside) - len(inside.lstrip())
        end = start + len(inside.strip())
        if start < end:
            moved.append({"start": start, "end": end, "label": span["label"]})
    return out.rstrip(), moved


def _clean(text: str) -> str:
    text = CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return SPACES.sub(_space, unicodedata.normalize("NFC", text))


def _space(found: re.Match[str]) -> str:
    return "\n\n" if BREAK.search(found[0]) else " "
