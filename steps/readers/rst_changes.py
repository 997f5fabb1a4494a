"""Reader `rst_changes`: an item of a changelog, and the kind of change that its authors call it."""

import re
from collections.abc import Iterator
from typing import Any

from steps.core.params import Section
from steps.readers.files import File
from steps.readers.inline import strip
from steps.readers.markup import Block, page

KIND = {"classification"}
SUFFIXES = (".rst", ".txt")
KINDS = (  # the first that matches: "Features removed" is a removal, "Documentation fixes" are doc
    ("removal", r"remov|deprecat"),
    ("breaking", r"incompatib|breaking"),
    ("doc", r"\bdoc"),
    ("fix", r"\bbug|\bfix|regression"),
    ("internal", r"internal|maintenance|quality|contributor-facing|packaging|^tests?$|^testing$"),
    ("feature", r"feature|enhancement|improvement|what's new|new in|functionalit"),
)
PATTERNS = [(kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in KINDS]
HASH = r"(?:`?#\d+(?:\s*<[^>]*>`_+|`_*)?)"
OPENING = re.compile(
    rf"^[\[(]?(?:(?:PR|issue|GH)?\s*-?(?:{HASH}|:\w+:`\d+`)[,\s]*(?:and\s+)?)+[\])]?\s*[:,-]+\s*"
    r"(?:[a-z+]+: )?"
    rf"|^[\[(](?:{HASH}[,\s]*)+[\])]\s*"
    r"|^(?:fix(?:es|ed)? )?issue ?#?\d+\s*[:,-]*\s*",
    re.IGNORECASE,
)
CREDITS = re.compile(
    rf"\s*(?:[(\[]\s*(?:closes\s+|via\s+)?{HASH}(?:[,;\s]*(?:and\s+)?{HASH})*\s*[)\]]"
    rf"|(?<=[.\s]){HASH}"
    r"|\(?(?:Patch(?:es)?|Initial patch|Contributed|Reported|Pull request|PR)"
    r" (?:courtesy |provided )?(?:by|from|of) .*"
    r"|\(?Thanks,? (?:to|for)? ?.*|[-–—]+\s*by\s.*)"
)
ADDRESS = re.compile(r"\s*\(?https?://[^\s)]+\)?|\s*\(\d{2,}\)")


class Options(Section):
    """None."""


def read(file: File, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the first paragraph of each item that stands under a heading that says what it is."""
    found = page(file)
    yield from found.bad()
    for number, block in enumerate(found.blocks if found.is_changelog else (), 1):
        label = kind_of(block)
        if block.item and label:
            yield found.record(block, number, text=note(block.text), label=label)


def note(markup: str) -> str:
    """Strip markup, issue numbers, credits and addresses: what names the project, not the kind."""
    cut = CREDITS.sub("", OPENING.sub("", " ".join(markup.split())))
    return ADDRESS.sub("", strip(cut).text).strip(" :,-")


def kind_of(block: Block) -> str | None:
    """Say the kind of change from the nearest heading that tells it."""
    for heading in reversed(block.headings):
        for kind, pattern in PATTERNS:
            if pattern.search(heading):
                return kind
    return None
