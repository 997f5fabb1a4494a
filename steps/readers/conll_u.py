"""Reader `conllu`: sentences of CoNLL-U (universaldependencies.org/format.html), tags as spans.

The text is that of `# text`, or the words by their SpaceAfter. `tag` names a column whose value
labels each word, or a key of MISC that holds IOB2 tags of entities. A multiword token is one word
of the text: its tag is its own, or its parts' ("ADP+DET"; of entities the first that is not O).
Nodes that are not in the text (8.1) are left out. The group is the document of `# newdoc`, the
language that of the file's name (de_gsd-ud-train.conllu).
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from conllu import Token, parse_token_and_metadata
from conllu.exceptions import ParseException

from steps.core.entry import StepError
from steps.readers.columns import Block, Unreadable, blocks, chunks, offsets
from steps.readers.files import File, Named, place

KIND = {"documents", "tokens", "tags"}
SUFFIXES = (".conllu",)
COLUMNS = ("upos", "xpos", "deprel")
FIELDS = re.compile(r"\t| {2,}")  # as the library does
TEXT = re.compile(r"#\s*text\s*=(.*)")
WIDTH = 10


class Options(Named):
    language_in_name: str = r"(?:^|/)([a-z]{2,3})_\w+-ud-"
    tag: str = "upos"
    group: Literal["document", "sentence"] = "document"


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the sentences of a file; StepError where no word of it has the key `tag` in MISC."""
    document, group = 0, file.name
    keys: set[str] = set()
    good = 0
    for block in blocks(file, lambda text: False):
        begins, name = _begins(block)
        if begins:
            document += 1
            group = f"{file.name}#{name or document}"
        alone = options.group == "sentence"
        if record := _record(block, file, options.tag, keys):
            good += "reason" not in record
            yield record if alone else record | {"group": group}
    if good and options.tag not in {*COLUMNS, *keys}:
        raise StepError(
            f"{file.name}: expected {options.tag!r} in MISC of some word, found"
            f" {', '.join(sorted(keys))[:200] or 'none'}; set the reader's option tag to one of"
            f" these, or to {', '.join(COLUMNS)}, or leave the file out of the source"
        )


def _begins(block: Block) -> tuple[bool, str]:
    """Say whether the block begins a document, and its id where it has one."""
    for line in block.lines:
        if found := re.match(r"#\s*newdoc\b(?:\s+id\s*=\s*(.*))?", line.text):
            return True, (found[1] or "").strip()
    return False, ""


def _record(block: Block, file: File, tag: str, keys: set[str]) -> dict[str, Any] | None:
    if block.reason:
        return block.bad(file)
    said = [match[1].strip() for line in block.lines if (match := TEXT.match(line.text))]
    try:
        if all(line.text.startswith("#") for line in block.lines):
            if said:
                raise Unreadable("no_words")
            return None  # comments on the file
        words = list(_words(block, tag))
        text, places = _align(said[0], words) if said else _join(words)
        found = _labelled(words, tag)
    except Unreadable as error:
        return block.bad(file, error)
    keys.update(key for word in words for key in word.keys)
    spans = offsets(places, found)
    return place(file, block.lines[0].number) | {"text": text, "spans": spans}


class Word(NamedTuple):
    """A word of the text; `tags`: its own, then those of its parts; `at`: its line in the block."""

    form: str
    glued: bool
    tags: list[str]
    keys: list[str]
    at: int


def _words(block: Block, tag: str) -> Iterator[Word]:
    """Yield the words of the text; the parts of a multiword token (1-2) are one of them."""
    waiting: Word | None = None
    until = count = 0
    for at, token in _tokens(block):
        number, misc = token["id"], token["misc"] or {}
        label = (token[tag] or "_") if tag in COLUMNS else misc.get(tag) or ""
        if isinstance(number, tuple) and number[1] == ".":
            continue
        word = Word(token["form"], misc.get("SpaceAfter") == "No", [label], list(misc), at)
        if isinstance(number, tuple):
            if number[0] != count + 1 or count < until:
                raise Unreadable("word_numbers", at)
            until = number[2]
        elif number != count + 1:  # what is missing would be lost
            raise Unreadable("word_numbers", at)
        else:
            count = number
        if waiting and isinstance(number, int) and number <= until:
            waiting.tags.append(label)
            waiting.keys.extend(misc)
            continue
        if waiting:
            yield waiting
        waiting = word
    if not waiting or count < until:
        raise Unreadable("word_numbers", len(block.lines))
    yield waiting


def _tokens(block: Block) -> Iterator[tuple[int, Token]]:
    """Parse each line by itself, to know the one at fault."""
    for at, line in enumerate(block.lines):
        if line.text.startswith("#"):
            continue
        fields = FIELDS.split(line.text.strip())
        if len(fields) != WIDTH or not fields[1]:
            raise Unreadable("wrong_columns", at)
        try:
            yield at, parse_token_and_metadata(line.text)[0]
        except (ParseException, ValueError):  # ValueError: a number of thousands of digits
            raise Unreadable("bad_conllu", at) from None


def _join(words: list[Word]) -> tuple[str, list[tuple[int, int]]]:
    text, places = "", []
    for word in words:
        places.append((len(text), len(text) + len(word.form)))
        text += word.form if word.glued else word.form + " "
    return text.rstrip(" "), places


def _align(text: str, words: list[Word]) -> tuple[str, list[tuple[int, int]]]:
    """Find the words in the text; Unreadable where they are not its words."""
    places, end = [], 0
    for word in words:
        start = len(text) - len(text[end:].lstrip())
        if not text.startswith(word.form, start):
            raise Unreadable("text_mismatch", word.at)
        end = start + len(word.form)
        places.append((start, end))
    if text[end:].strip():
        raise Unreadable("text_mismatch", words[-1].at)
    return text, places


def _labelled(words: list[Word], tag: str) -> list[tuple[int, int, str]]:
    """Give the chunks of words that have a label: each word's, or the entities of MISC."""
    if tag in COLUMNS:
        labels = [_joined(word.tags) for word in words]
        return [(at, at + 1, label) for at, label in enumerate(labels) if label]
    tags = [next((tag for tag in word.tags if tag not in ("", "O")), "O") for word in words]
    try:
        return chunks(tags, "iob2")
    except Unreadable as error:
        raise Unreadable(error.reason, words[error.at].at) from None


def _joined(tags: list[str]) -> str:
    own, *parts = tags
    return own if own != "_" else "+".join(tag for tag in parts if tag != "_")
