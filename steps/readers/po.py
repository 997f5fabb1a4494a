"""Reader `po`: messages of gettext catalogues (.po) and their translations; the group is the file.

Of a plural each form is a record: the first one of several translates msgid, all others
msgid_plural. Fuzzy, untranslated and obsolete messages are bad records. A catalogue is read whole
or not at all: one that breaks gettext's syntax is one bad record, with the line. The language is
the one that the header says it is translated into.
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polib

from steps.core.params import Section
from steps.readers.archives import Damaged
from steps.readers.files import MAX_LINE, MAX_TEXT, SHOWN, File, Line, place

KIND = {"translation", "documents"}
SUFFIXES = (".po",)
LINE = re.compile(  # polib cuts the last letter off a string without its end
    r'(?:#~\s*)?(?:(?P<word>msgctxt|msgid|msgid_plural|msgstr|msgstr\[\d\])\s*)?"(?:[^"\\]++|\\.)*+"'
    r"|#.*",
    re.DOTALL,
)
CHARSET = re.compile(rb"Content-Type:.+?charset=([\w.:-]+)")
LANGUAGE = re.compile(r"^Language: *([\w@.-]+)", re.MULTILINE)
HEAD = 1 << 20  # bytes that the header is looked for in


class Options(Section):
    side: Literal["msgid", "msgstr"] = "msgid"  # which one is `text`; `target` is the other
    group: Literal["file", "message"] = "file"


class Catalogue(polib.POFile):  # type: ignore[misc]
    def find(self, *args: Any, **named: Any) -> None:
        """Find no header: polib would take it, or what it thinks is one, out of the messages."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the messages in order; the header is none."""
    try:
        with file.path() as path:
            bad, messages = _parse(path)
    except Damaged:
        bad, messages = Line(1, "", "truncated"), []
    base = place(file, 1) | ({"group": file.name} if options.group == "file" else {})
    header = next((message.msgstr for message in messages if _is_header(message)), "")
    base |= {"language": said[1]} if (said := LANGUAGE.search(header)) else {}
    if bad:
        place_of_bad = {"place": f"{file.name}:{bad.number}"}
        yield base | place_of_bad | {"text": bad.text[:SHOWN], "reason": bad.reason}
    for message in (one for one in messages if not _is_header(one)):
        for form, record in _records(message, options.side):
            where = f"{file.name}:{max(message.linenum, 1)}{form}"
            alone = {"group": where} if options.group == "message" else {}
            yield base | {"place": where} | alone | record


def _parse(path: Path) -> tuple[Line | None, list[polib.POEntry]]:
    """Return what is wrong with a catalogue, or its messages."""
    if path.stat().st_size > MAX_TEXT:
        return Line(1, "", "file_too_long"), []
    charset = _charset(path)
    words = {"msgid": 0, "msgstr": 0}
    for line in _lines(path, charset):
        found = LINE.fullmatch(line.text.strip())
        if line.reason or (line.text.strip() and not found):
            return line if line.reason else line._replace(reason="not_po"), []
        word = ((found and found["word"]) or "").split("[")[0]
        words[word] = words.get(word, 0) + 1
    try:
        messages = list(polib.pofile(str(path), encoding=charset, klass=Catalogue))
    except (OSError, UnicodeError) as error:
        number = re.search(r"\(line (\d+)\)", str(error))
        return Line(int(number[1]) if number else 1, "", "not_po"), []
    kept = sum(len(message.msgstr_plural) or 1 for message in messages)
    if (len(messages), kept) != (words["msgid"], words["msgstr"]):
        return Line(1, "", "not_po"), []  # a msgid without msgstr, which polib forgets
    return None, messages


def _is_header(message: polib.POEntry) -> bool:
    return not (message.msgid or message.msgctxt)


def _charset(path: Path) -> str:
    """Return the encoding that the header names, where it is one of text."""
    with path.open("rb") as stream:
        found = CHARSET.search(stream.read(HEAD))
    name = found[1].decode() if found else "utf-8"
    try:
        b" ".decode(name)
    except (LookupError, UnicodeError):  # hex and zlib are codecs too
        return "utf-8"
    return name


def _lines(path: Path, charset: str) -> Iterator[Line]:
    with path.open("rb") as stream:
        number = 0
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            reason = "line_too_long" if len(raw) > MAX_LINE else ""
            try:
                text = raw.decode(charset)
            except UnicodeError:
                text, reason = raw.decode(errors="replace"), reason or "not_utf8"
            if "\0" in text:
                text, reason = text.replace("\0", "\ufffd"), reason or "nul_bytes"
            yield Line(number, text, reason)
            if reason:
                return


def _records(message: polib.POEntry, side: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a record a form, and which one it is: "" or "[1]"."""
    reason = "obsolete" if message.obsolete else "fuzzy" if message.fuzzy else ""
    forms = message.msgstr_plural or {-1: message.msgstr}
    for number, target in sorted(forms.items()):
        text = message.msgid
        if number > 0 or (number == 0 and len(forms) == 1 and message.msgid_plural):
            text = message.msgid_plural
        bad = reason or ("" if target.strip() else "untranslated")
        record = {"text": text, "target": target}
        if side == "msgstr":
            record = {"text": target, "target": text}
        yield (f"[{number}]" if number >= 0 else ""), record | ({"reason": bad} if bad else {})
