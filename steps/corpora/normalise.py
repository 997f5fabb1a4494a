"""Plain text: mojibake mended, HTML's marks away, Unicode NFC, no control characters, plain blanks;
the offsets of spans follow."""

import html
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

# Controls but tab and line ends, soft hyphens, zero-width spaces, directional marks, surrogates and
# not-characters. The joiners U+200C and U+200D stay: they change how Persian and Indic words read.
CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
ASCII_CONTROL = bytes(code for code in range(128) if CONTROL.match(chr(code)))
SPACES = re.compile(r" ?[^\S ]\s*|  \s*")  # all but single blanks
BREAK = re.compile(r"\n[^\S\n]*\n")
PARAGRAPHS = re.compile(r"\n\s*\n")

BLOCKS = (
    "address|article|aside|blockquote|body|caption|center|dd|details|dialog|dir|div|dl|dt|fieldset"
    "|figcaption|figure|footer|form|h[1-6]|head|header|hr|html|legend|li|main|menu|nav|ol|optgroup"
    "|option|p|pre|search|section|select|summary|table|tbody|tfoot|thead|tr|ul"
)
INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|br|button|cite|code|data|del|dfn|em|font|i|img|input|ins|kbd"
    "|label|link|map|mark|meta|nobr|output|q|rp|rt|ruby|s|samp|small|span|strike|strong|sub|sup"
    "|td|th|time|tt|u|var|wbr"
)
DROPPED = ("script", "style", "template", "noscript", "svg", "math", "iframe", "object", "audio",
           "video", "canvas", "textarea")  # fmt: skip
NAMES = f"{BLOCKS}|{INLINE}|title|{'|'.join(DROPPED)}"
MARKUP = re.compile(
    rf"</(?:{NAMES})\s*>|<(?:br|hr|p|li|img|html|body)(?:\s[^<>]*)?/?>|<!--|<!doctype\s", re.I
)
PAGE = re.compile(r"<!doctype\s+html|<html[\s>]|<body[\s>]", re.I)
NO_TAG = re.compile(rf"<<|<(?!/?(?:{NAMES})[\s/>]|!--|!doctype\s)", re.I)
MARKERS = re.compile("<<")
TAG = re.compile(  # no angle inside: tags that have one are left to the parser, as scripts are
    rf"</?(?:({BLOCKS})|(br|td|th)|{INLINE})(?=[\s/>])(?:[^<>\"']|\"[^\"<>]*\"|'[^'<>]*')*>", re.I
)
BLOCK = re.compile(rf"</?(?:{BLOCKS}|br|td|th)(?=[\s/>])", re.I)
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
MAX_TAGS = 5_000  # the parser takes time by the square of how deep elements nest


def normalise(text: str) -> str:
    """Clean a text; paragraphs stay apart by one blank line, other white space is one blank."""
    text = _lines(text)
    if text.isascii():
        text = text.encode("ascii").translate(None, ASCII_CONTROL).decode("ascii")
    else:
        text = unicodedata.normalize("NFC", CONTROL.sub("", text))
    joined = (" ".join(part.split()) for part in PARAGRAPHS.split(text))
    return "\n\n".join(filter(None, joined))


def mojibake(text: str) -> str:
    """Mend UTF-8 that was read as something else ("schÃ¶n"), line by line, and nothing else.

    By ftfy (Speer 2019), which only sees lines with a pair of characters that it could mend.
    """
    if text.isascii() or not (suspicious := _suspicious()).search(text):
        return text
    from ftfy import TextFixerConfig, fix_encoding

    config = TextFixerConfig(explain=False)
    lines = text.split("\n")
    return "\n".join(fix_encoding(x, config) if suspicious.search(x) else x for x in lines)


def strip_html(text: str) -> str | None:
    """Take HTML's tags and entities away; blocks become paragraphs, scripts and styles go.

    A "<" that opens no HTML element stays, as do `<<markers>>`; so does all of a text without any
    closing tag, comment, paragraph or break. None: more markup than can be read in due time.
    """
    if not MARKUP.search(text):
        return ENTITY.sub(lambda found: html.unescape(found[0]), text)
    flat = " ".join(CONTROL.sub("", text).split())
    flat = (MARKERS if PAGE.search(flat) else NO_TAG).sub(_escape, flat)
    flat = BLOCK.sub(r"\n\n\g<0>", TAG.sub(_break, flat))
    if flat.count("<") > MAX_TAGS:
        return None
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(f"<body>{flat}")
    tree.strip_tags(list(DROPPED), recursive=True)
    return tree.root.text(deep=True, separator="", strip=False) if tree.root else ""


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
    return SPACES.sub(_space, unicodedata.normalize("NFC", CONTROL.sub("", _lines(text))))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _space(found: re.Match[str]) -> str:
    return "\n\n" if BREAK.search(found[0]) else " "


def _escape(found: re.Match[str]) -> str:
    return "&lt;" * len(found[0])


def _break(found: re.Match[str]) -> str:
    """A block ends its paragraph; two line breaks do, too; a table's cell stands apart."""
    if found[1]:
        return "\n\n"
    return {"br": "\n", "td": " ", "th": " "}.get((found[2] or "").lower(), "")


@cache
def _suspicious() -> re.Pattern[str]:
    """What all mojibake that ftfy can mend has: a C1 control, or the two first bytes of a character
    in UTF-8 as one of the encodings shows them (the second may have become a blank, or lost)."""
    from ftfy.chardata import CHARMAP_ENCODINGS

    first = _seen_as(range(0xC0, 0xF5), CHARMAP_ENCODINGS)
    second = _seen_as(range(0x80, 0xC0), CHARMAP_ENCODINGS)
    blank = _seen_as(b"\xc2\xc3\xc5\xce\xd0\xd9\xe2\xe3\xf0", set(CHARMAP_ENCODINGS) - {"macroman"})
    return re.compile(f"{first}(?:[\x1a\ufffd]|{second}|[ ?](?<={blank}.))|[\x80-\x9f]")


def _seen_as(some: Iterable[int], encodings: Iterable[str]) -> str:
    """All characters that the bytes are in the encodings, as a class of a pattern."""
    return f"[{re.escape(''.join(sorted({c for e in encodings for c in bytes(some).decode(e)})))}]"
