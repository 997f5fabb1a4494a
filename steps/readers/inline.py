"""Inline markup of reStructuredText: roles, literals, links become their text, entities spans."""

import re
from collections.abc import Iterator
from typing import NamedTuple

ENTITIES = {
    "class": "CLASS",
    "meth": "FUNC",
    "func": "FUNC",
    "attr": "ATTR",
    "data": "ATTR",
    "exc": "EXC",
    "mod": "MOD",
    "setting": "OPTION",
    "confval": "OPTION",
    "option": "OPTION",
    "envvar": "OPTION",
    "djadmin": "CMD",
    "program": "CMD",
    "command": "CMD",
    "ttag": "TAG",
    "tfilter": "TAG",
    "lookup": "TAG",
    "directive": "TAG",
    "dir": "TAG",
    "role": "TAG",
}
PYTHON = {"class", "meth", "func", "attr", "data", "exc", "mod", "obj", "const", "paramref", "any"}
NAMES = {
    "ref",
    "doc",
    "numref",
}  # shown as a title that only a build knows: the last words of their target
PREFIXED = {"pep": "PEP ", "rfc": "RFC "}
GONE = r"(?:issue|pr|r|rev|pull|gh(?:pull|issue)?|ticket|bug|commit|user|cve|cwe|cite)"
ISSUE = rf"(?::{GONE}:`[^`]*`|`#?\d+\s*<[^>]*>`_+|#\d+)"
VANISHING = re.compile(
    rf"\s*(?:[-–—]+\s*by\s+(?::user:`[^`]*`(?:,|\s|and)*)+"  # -- by :user:`x` and :user:`y`
    rf"|[(\[](?:{ISSUE}|fixes|closes|refs?|see|via|thanks|to|and|[,;&\s])+[)\]]"
    rf"|:{GONE}:`[^`]*`"
    rf"|\[(?:\#?\w*|\*)\]_(?!\w))"
)
MAY_VANISH = re.compile(  # something like it is there: quick to say, and mostly no
    rf":{GONE}:`|\]_|#\d|`\d+\s*<|[(\[](?:fixes|closes|refs?|see|via|thanks|to|and|[,;&\s])+[)\]]"
)
MAY_LEAD = re.compile(r"[,.;!?):](?<= .)")
LEADING = re.compile(r" +([,.;!?)]|:(?!\w))")
OPENING = re.compile(r"^(?:#\d+[,:]?\s+)+|^[,.;:]+\s+")  # issue numbers, and what they left behind
CREDIT = re.compile(r"\s+Patch(?:es)? by .*$")
MARK = re.compile(r"[`:*|\\]")
MARKED = r"""(?=[`:*|\\])(?:
    (?<![\w`])``(?P<literal>.+?)``(?!`)
    |:(?P<role>[a-zA-Z][\w:+.-]*?):`(?P<content>[^`]+)`
    |(?<![\w`:])`(?P<link>[^`]+?)`(?P<target>__?)?(?![\w`])
    |(?<![\w*\\])\*\*(?P<strong>[^\s*](?:[^*]*?[^\s*])?)\*\*(?!\w)
    |(?<![\w*\\])\*(?P<emphasis>[^\s*](?:[^*]*?[^\s*])?)\*(?![\w*])
    |(?<![\w|])\|(?P<substitution>[A-Za-z][^|]*?)\|_{0,2}(?!\w)
    |\\(?P<escaped>.))"""
REFERENCE = r"""(?<![\w`.:/])(?P<reference>[A-Za-z][\w.-]*?[A-Za-z0-9])__?(?=[\s.,;:)!?'"]|$)"""
INLINE = re.compile(MARKED, re.VERBOSE)
MARKUP = re.compile(r"[`*|\\]|_(?!\w)")
ENDING = re.compile(r"_(?!\w)(?<=\w_)")
INLINE_AND_REFERENCES = re.compile(rf"{MARKED}|{REFERENCE}", re.VERBOSE)  # at every word: slower
TITLED = re.compile(r"(?s)(.+?)\s*<([^<>]+)>")


class Prose(NamedTuple):
    """Text without markup; `unmarked`: it has literals, perhaps entities that nobody labelled."""

    text: str
    spans: list[dict[str, object]]
    unmarked: bool


def strip(markup: str) -> Prose:
    """Turn one paragraph's markup into prose; white space is folded."""
    markup = " ".join(markup.split())
    if "`" in markup or "]_" in markup or "#" in markup:
        if MAY_VANISH.search(markup):
            markup = VANISHING.sub("", markup)
        if MAY_LEAD.search(markup):
            markup = LEADING.sub(r"\1", markup)
        if left := OPENING.match(markup):
            markup = markup[left.end() :]
    if "Patch" in markup:
        markup = CREDIT.sub("", markup)
    if not MARKUP.search(markup):
        return Prose(markup, [], False)
    out: list[str] = []
    spans: list[dict[str, object]] = []
    size = at = 0
    unmarked = False
    for found in _marked(markup):
        shown, label, bare = _show(found)
        before = markup[at : found.start()]
        size += len(before)
        if label and shown:
            spans.append({"start": size, "end": size + len(shown), "label": label})
        unmarked = unmarked or bare
        out += [before, shown]
        size += len(shown)
        at = found.end()
    return Prose("".join([*out, markup[at:]]), spans, unmarked)


def _marked(markup: str) -> Iterator[re.Match[str]]:
    """Find what is marked, asking only where a mark is; but a reference begins at any word."""
    if ENDING.search(markup):
        yield from INLINE_AND_REFERENCES.finditer(markup)
        return
    mark = MARK.search(markup)
    while mark:
        found = INLINE.match(markup, mark.start())
        if found:
            yield found
        mark = MARK.search(markup, (found or mark).end())


def _show(found: re.Match[str]) -> tuple[str, str | None, bool]:
    """Say what is shown, its entity label, and whether it is code that no role labels."""
    kind = found.lastgroup or ""
    if found["role"]:
        return _show_role(found["role"].rsplit(":", 1)[-1].lower(), found["content"].strip())
    if found["link"]:
        titled = TITLED.fullmatch(found["link"])
        return (titled[1] if titled else found["link"]), None, not found["target"]
    if found["escaped"]:
        return found["escaped"].strip(), None, False
    return found[kind], None, kind == "literal"


def _show_role(role: str, content: str) -> tuple[str, str | None, bool]:
    label = ENTITIES.get(role)
    if titled := TITLED.fullmatch(content):
        label = None if " " in titled[1] else label
        return titled[1], label, label is None and role in PYTHON and " " not in titled[1]
    if role in PREFIXED:
        return PREFIXED[role] + content, None, False
    if role in NAMES:
        return re.sub(r"[-_]+", " ", content.rstrip("/").rsplit("/", 1)[-1]).strip(), None, False
    if role in PYTHON:
        content = _python(content)
    return content.lstrip("!"), label, label is None and role not in ("term", "abbr", "file")


def _python(name: str) -> str:
    """`~a.b.C` shows C; a leading dot and SQLAlchemy's `_orm.` only help to find the target."""
    name = name.lstrip("!")
    if name.startswith("~"):
        return name[1:].rsplit(".", 1)[-1]
    return re.sub(r"^(?:_\w+)?\.", "", name)
