"""Reader `conll`: sentences in columns, a word a line, a blank line between two; tags become spans.

`columns` names them in order, `_` where one is of no use: CoNLL-2003 is [word, _, _, tag], and for
its parts of speech, a task of type `tags`, [word, tag, _, _]. The text
is the words with `join` between them. The group is the document, which a line with the marker
`document` begins (a file without markers is one), or the sentence where `group` says so.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator

from steps.readers.columns import Block, Scheme, Unreadable, blocks, chunks, offsets
from steps.readers.files import File, Named, place

KIND = {"documents", "tokens", "tags"}
SUFFIXES = ()
FOR = {"tags": {"scheme": "word"}}
BLANKS = re.compile(r"[ \t]+")  # not \s: a no-break space may stand in a word


class Options(Named):
    columns: list[str] = Field(["word", "_", "_", "tag"])
    separator: str | None = Field(None, min_length=1)  # None: blanks and tabs
    scheme: Scheme = "iob2"
    document: str = "-DOCSTART-"
    comment: str = ""  # how a line begins that is no word; "": none does
    join: str = " "
    group: Literal["document", "sentence"] = "document"

    @field_validator("columns")
    @classmethod
    def _has_both(cls, value: list[str]) -> list[str]:
        if {*value} - {"_"} != {"word", "tag"} or len(value) - value.count("_") != 2:
            raise ValueError("expected word and tag once each, and _ for any other column")
        return value


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the sentences of a file; one that breaks its scheme is a bad record as a whole."""
    document = 0
    for block in blocks(file, lambda text: _is_marker(text, options)):
        if not block.reason and _is_marker(block.lines[0].text, options):
            document += 1
            continue
        group = f"{file.name}#{document}" if document else file.name
        alone = options.group == "sentence"
        if record := _record(block, file, options):
            yield record if alone else record | {"group": group}


def _is_marker(text: str, options: Options) -> bool:
    marker = options.document
    if not marker or marker not in text:
        return False
    return text.startswith(marker) or marker in _fields(text, options)


def _fields(text: str, options: Options) -> list[str]:
    return text.split(options.separator) if options.separator else BLANKS.split(text.strip(" \t"))


def _record(block: Block, file: File, options: Options) -> dict[str, Any] | None:
    if block.reason:
        return block.bad(file)
    if options.comment:
        block = block._replace(lines=[x for x in block.lines if not _is_comment(x.text, options)])
    if not block.lines:
        return None
    try:
        text, spans = _sentence([line.text for line in block.lines], options)
    except Unreadable as error:
        return block.bad(file, error)
    return place(file, block.lines[0].number) | {"text": text, "spans": spans}


def _is_comment(text: str, options: Options) -> bool:
    return text.startswith(options.comment)


def _sentence(found: list[str], options: Options) -> tuple[str, list[dict[str, Any]]]:
    word, tag = options.columns.index("word"), options.columns.index("tag")
    rows = [_fields(text, options) for text in found]
    for at, row in enumerate(rows):
        if len(row) != len(options.columns) or not row[word].strip():
            raise Unreadable("wrong_columns", at)
    tagged = chunks([row[tag].strip() for row in rows], options.scheme)
    places, end = [], 0
    for row in rows:
        places.append((end, end + len(row[word])))
        end += len(row[word]) + len(options.join)
    return options.join.join(row[word] for row in rows), offsets(places, tagged)
