"""Reader `text`: documents of .txt and .md files; their source is the top folder, or the file.

`mode`: "file": a document is a file; "blank_lines": blank lines part the documents of a file;
"doc": they are blocks of lines between `<doc ...>` and `</doc>`, as extractors of wikis write, and
the block's id, url or title is its group.
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Literal

from steps.core.params import Section
from steps.readers import files
from steps.readers.files import File, lines, text_of

KIND = {"documents"}
SUFFIXES = (".txt", ".md")
OPENED = re.compile(r"\s*<doc(?:\s[^>]*)?>\s*")
CLOSED = re.compile(r"\s*</doc>\s*")
ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*("[^"]*"|'[^']*')""")


class Options(Section):
    """What parts the documents of a file."""

    mode: Literal["file", "blank_lines", "doc"] = "file"


class Document:
    """Lines of a document as they come; what is wrong with one of them is wrong with it."""

    def __init__(self, number: int, group: str = "", reason: str = "") -> None:
        self.number, self.group, self.reason = number, group, reason
        self._lines: list[str] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._lines or self.reason)

    def add(self, text: str, reason: str) -> None:
        """Append a line, but for those of a document that is too long already."""
        self.reason = self.reason or reason
        self._size += len(text) + 1
        if self._size > files.MAX_TEXT:
            self._lines, self.reason = [self.text[: files.SHOWN]], "text_too_long"
        else:
            self._lines.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self._lines)


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the documents of one file; what cannot be read of it is a bad one."""
    source = file.name.split("/", 1)[0]
    if options.mode == "file":
        text, reason = text_of(file)
        record = {"source": source, "group": file.name, "place": file.name, "text": text}
        yield record | ({"reason": reason} if reason else {})
        return
    for document in (_blocks if options.mode == "doc" else _paragraphs)(file):
        place = f"{file.name}:{document.number}"
        group = document.group or (place if options.mode == "doc" else file.name)
        record = {"source": source, "group": group, "place": place, "text": document.text}
        yield record | ({"reason": document.reason} if document.reason else {})


def _paragraphs(file: File) -> Iterator[Document]:
    document = Document(1)
    for number, text, reason in lines(file):
        if text.strip() or reason:
            document = document or Document(number)
            document.add(text, reason)
        elif document:
            yield document
            document = Document(number)
    if document:
        yield document


def _blocks(file: File) -> Iterator[Document]:
    """Yield the blocks; text outside of them, and a block without its end, is bad."""
    document, is_open = Document(1, reason=""), False
    for number, text, reason in lines(file):
        if OPENED.fullmatch(text):
            yield from _bad(document, "unclosed_doc" if is_open else "outside_doc")
            document, is_open = Document(number, _group(text)), True
        elif is_open and CLOSED.fullmatch(text):
            yield document
            document, is_open = Document(number), False
        elif is_open or text.strip() or reason:
            if not is_open and not document:
                document = Document(number)
            document.add(text, reason)
    yield from _bad(document, "unclosed_doc" if is_open else "outside_doc")


def _bad(document: Document, reason: str) -> Iterator[Document]:
    if document or reason == "unclosed_doc":
        document.reason = document.reason or reason
        yield document


def _group(tag: str) -> str:
    said = {key.lower(): unescape(value[1:-1]) for key, value in ATTRIBUTE.findall(tag)}
    return said.get("id") or said.get("url") or said.get("title") or ""
