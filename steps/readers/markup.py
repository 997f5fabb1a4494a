"""reStructuredText as blocks of prose: a line parser, for docutils stops at what it does not know.

Kept: paragraphs, list items, the bodies of admonitions, version notes and object descriptions.
Dropped: comments, literal blocks, doctests, tables, field lists, all other directives. What is
inside a paragraph is the matter of `inline`.
"""

import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from steps.readers.files import File, text_of

CHANGELOG = re.compile(  # by its folder, or by how its name begins
    r"(?i)(?:.*/)?(?:(?:releases?|changes|changelog|news)/[^/]*"
    r"|(?:changes|changelog|news|history|release[_-]|old_release|whatsnew)[^/]*)"
)
VERSION = re.compile(r"(?i)(?:[a-z]+ ){0,2}v?\d+\.\d+[\w.]*(?:\s*[(:,–-].*)?")
PROSE = re.compile(  # directives whose argument is already prose, but for a version
    "note|warning|tip|hint|important|caution|attention|danger|error|seealso"
    "|version(?:added|changed|removed)|deprecated(?:-removed)?"
)
BODIES = re.compile(  # directives whose argument is a name or a title
    "admonition|topic|sidebar|container|only|compound|details|glossary|epigraph|changelog|change"
    "|(?:class|static|coroutine|decorator)?(?:class|method|function|attribute|property|data)"
    "|exception|module|decorator|describe|object|setting|confval|option|cmdoption|envvar"
    "|django-admin(?:-option)?|templatetag|templatefilter|fieldlookup|signal|directive|role|event"
    "|type|macro|member|reqmeta"
    "|auto(?:class|function|method|attribute|data|exception|module|property)"
)
RULED = {character * 3 for character in "=-~`'\"^#*+_:.<>!@$%&"}  # how a rule begins
RULE = re.compile(r"([=\-~`'\"^#*+_:.<>!@$%&])\1{2,}\s*$")
TABLE = re.compile(r"(?:=+ +)+=+\s*$|\+[-=+]+\+\s*$")
DIRECTIVE = re.compile(r"\.\. +([\w:-]+)::(?:\s+(.*))?$")
OPTION = re.compile(r":([\w-]+):\s*(.*)")
FIELD = re.compile(r":[^:`\s][^:`]*:(?:\s|$)")
ITEM = re.compile(r"([-*+•]|(?:\d+|#|[a-zA-Z])[.)]|\((?:\d+|[a-z])\))(\s+)(?=\S)")
GIVEN = re.compile(r"(?:v?\d[\w.]*[,:]?\s*)+(?:[-–—]+\s*)?")


class Block(NamedTuple):
    """A paragraph with its inline markup; `item`: opens a list item; `tags`: of a `change`."""

    text: str
    headings: tuple[str, ...]
    item: bool = False
    tags: str = ""


class Page(NamedTuple):
    """One file; `path` is relative to the source's root; `reason`: why it could not be read."""

    path: str
    blocks: list[Block]
    reason: str = ""

    @property
    def library(self) -> str:
        """The top folder (or the file itself), which is what documents call their source."""
        return self.path.split("/", 1)[0]

    @property
    def is_changelog(self) -> bool:
        return bool(CHANGELOG.fullmatch(self.path.split("/", 1)[-1]))

    def group(self, block: Block) -> str:
        """The file; in a changelog of several versions the file and the version."""
        if self.is_changelog:
            for heading in reversed(block.headings):
                if VERSION.fullmatch(heading):
                    return f"{self.path}#{heading}"
        return self.path

    def record(self, block: Block, number: int, **said: Any) -> dict[str, Any]:
        """Make a record of what is said of a block; its place is the number of that block."""
        place = f"{self.path}:{number}"
        return {"source": self.library, "group": self.group(block), "place": place, **said}

    def bad(self) -> Iterator[dict[str, Any]]:
        """Yield the one bad record of a file that could not be read."""
        if self.reason:
            at = {"source": self.library, "group": self.path, "place": self.path}
            yield at | {"text": "", "reason": self.reason}


def page(file: File) -> Page:
    """Parse one file."""
    text, reason = text_of(file)
    return Page(file.name, [] if reason else list(parse(text)), reason)


def parse(text: str) -> Iterator[Block]:
    """Split a file into blocks; headings have under- and overlines, levels by first use."""
    levels: list[str] = []
    headings: list[str] = []
    lines = [line.rstrip() for line in text.expandtabs(8).splitlines()]
    rules = [at for at, line in enumerate(lines) if line[:3] in RULED and RULE.match(line)]
    start = 0
    for at in sorted({line for rule in rules for line in (rule - 1, rule) if line >= 0}):
        style, title, size = _title(lines, at) if at >= start else ("", "", 0)
        if not size:
            continue
        yield from _walk(lines[start:at], tuple(headings))
        if style not in levels:
            levels.append(style)
        headings[levels.index(style) :] = [title]
        start = at + size
    yield from _walk(lines[start:], tuple(headings))


def _title(lines: list[str], at: int) -> tuple[str, str, int]:
    """Say style, text and number of lines of the heading that starts here; 0 if none does."""
    line, below, third = (*lines[at : at + 3], "", "")[:3]
    if not line or (line[0] == " " and not RULE.match(below)):
        return "", "", 0
    if RULE.match(line):
        if below and third and RULE.match(third) and third[0] == line[0] and not RULE.match(below):
            return line[0] * 2, below.strip(), 3
        return "", "", 0
    before = lines[at - 1] if at else ""
    if below and RULE.match(below) and not before and len(below) >= len(line) - 1:
        return below[0], line.strip(), 2
    return "", "", 0


def _walk(lines: list[str], headings: tuple[str, ...], tags: str = "") -> Iterator[Block]:
    """Yield the blocks of lines that share one left margin."""
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line:
            at += 1
        elif line[0].isalpha() and line[1:2] not in (
            ".",
            ")",
        ):  # most are: the rest need not be asked
            at = yield from _paragraph(lines, at, headings, tags)
        elif RULE.match(line):
            at += 1
        elif TABLE.match(line):
            at = _after_table(lines, at)
        elif line.startswith(">>>"):
            at = _until_blank(lines, at)
        elif line == ".." or line.startswith(".. "):
            end = _after_body(lines, at)
            yield from _directive(lines[at:end], headings, tags)
            at = end
        elif FIELD.match(line) or line.startswith("| ") or line == "__" or line.startswith("__ "):
            at = _after_body(lines, at)
        elif line[0] == " ":
            end = _after_indented(lines, at)
            yield from _walk(_dedent(lines[at:end]), headings, tags)
            at = end
        elif found := ITEM.match(line):
            end = _after_body(lines, at)
            inside = _dedent([" " * found.end() + line[found.end() :], *lines[at + 1 : end]])
            yield from _item(inside, headings, tags)
            at = end
        else:
            at = yield from _paragraph(lines, at, headings, tags)


def _paragraph(
    lines: list[str], at: int, headings: tuple[str, ...], tags: str
) -> Generator[Block, None, int]:
    """Yield a paragraph, or the body of a definition; what follows `::` is literal and dropped.

    Returns the line after it.
    """
    end = at + 1
    while end < len(lines) and lines[end] and lines[end][0] != " ":
        end += 1
    if end == at + 1 and end < len(lines) and lines[end]:
        end = _after_indented(lines, end)  # a term and its definition
        yield from _walk(_dedent(lines[at + 1 : end]), headings, tags)
        return end
    end = _until_blank(lines, at)
    text = " ".join(line.strip() for line in lines[at:end])
    if text.endswith("::"):
        end = _after_body(lines, end - 1)
        text = text[:-2].rstrip() + ":" if text[:-2].strip() else ""
    if text:
        yield Block(text, headings, tags=tags)
    return end


def _item(lines: list[str], headings: tuple[str, ...], tags: str) -> Iterator[Block]:
    """Yield the blocks of a list item, its first one marked."""
    for number, block in enumerate(_walk(lines, headings, tags)):
        yield block._replace(item=True) if number == 0 else block


def _directive(lines: list[str], headings: tuple[str, ...], tags: str) -> Iterator[Block]:
    """Yield the prose inside explicit markup: a directive whose body is kept, else nothing."""
    found = DIRECTIVE.match(lines[0])
    if not found:
        return
    name, argument = found[1].rsplit(":", 1)[-1], found[2] or ""
    body = _dedent(lines[1:])
    if PROSE.fullmatch(name):
        first = GIVEN.sub("", argument, count=1) if name[:4] in ("vers", "depr") else argument
        _, body = _options(body)
        yield from _walk([first, *body] if first else body, headings, tags)
    elif BODIES.fullmatch(name):
        while body and body[0] and not OPTION.match(body[0]) and argument:
            body = body[1:]  # more signatures
        options, body = _options(body)
        if name == "change":
            yield from _item(body, headings, options.get("tags", "change"))
        else:
            version = (options["version"],) if options.get("version") else ()
            yield from _walk(body, headings + version, tags)


def _options(body: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split a directive's options from its content."""
    options = {}
    at = 0
    while at < len(body) and (found := OPTION.match(body[at])):
        options[found[1]] = found[2].strip()
        at += 1
        while at < len(body) and body[at].startswith(" "):
            at += 1
    return options, body[at:]


def _dedent(lines: list[str]) -> list[str]:
    margin = min([len(line) - len(line.lstrip()) for line in lines if line], default=0)
    return [line[margin:] for line in lines] if margin else lines


def _until_blank(lines: list[str], at: int) -> int:
    while at < len(lines) and lines[at]:
        at += 1
    return at


def _after_indented(lines: list[str], at: int) -> int:
    while at < len(lines) and (not lines[at] or lines[at][0] == " "):
        at += 1
    return at


def _after_body(lines: list[str], at: int) -> int:
    """Say where what hangs on this line ends: its indented lines."""
    return _after_indented(lines, at + 1)


def _after_table(lines: list[str], at: int) -> int:
    """Say where a table ends: at a blank line, or at a border before one if it is simple."""
    if lines[at].startswith("+"):
        return _until_blank(lines, at)
    end = at + 1
    while end < len(lines):
        closed = TABLE.match(lines[end]) or (RULE.match(lines[end]) and lines[end][0] == "=")
        if closed and (end + 1 == len(lines) or not lines[end + 1]):
            return end + 1
        end += 1
    return end
