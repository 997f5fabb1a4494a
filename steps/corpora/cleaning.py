"""From a raw text to one to learn from, or to the reason why not."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from steps.core import params
from steps.corpora import language, pii
from steps.corpora.filters import FILTERS, Filter, Words
from steps.corpora.normalise import mojibake, normalise, strip_html

LETTERS = bytes(code for code in range(128) if chr(code).isalpha())


class Rules(NamedTuple):
    """What a text must be like; `languages`: none given, none is identified."""

    strip_html: bool
    languages: tuple[str, ...]
    min_words: int
    max_words: int
    min_letters: float
    filters: tuple[str, ...]
    mask_pii: bool


class Cleaned(NamedTuple):
    """A text, normalised and masked whether it is kept or not; `reason`: "" or why it is not.

    `language`: "" where none was asked for; of a rejected text it may be unknown.
    """

    text: str
    reason: str
    language: str
    masked: dict[str, int]


def clean(texts: Sequence[str], rules: Rules) -> list[Cleaned]:
    """Clean texts; StepError for a filter or language that there is none of.

    Without HTML to strip, what comes out is clean: to clean it again changes nothing.
    """
    filters = [params.choose(name, FILTERS, "filter") for name in rules.filters]
    language.check(rules.languages)
    return [_clean(text, rules, filters) for text in texts]


def _clean(text: str, rules: Rules, filters: Sequence[Filter]) -> Cleaned:
    raw = mojibake(text)
    stripped = strip_html(raw) if rules.strip_html else raw
    raw = raw if stripped is None else stripped
    text, masked = _tidy(raw, rules.mask_pii)
    document = Words(text, raw)
    reason = "too_much_markup" if stripped is None else against_length(document, rules)
    for refuses in filters:
        reason = reason or refuses(document)
    spoken = ""
    if rules.languages and not reason:
        [spoken] = language.identify([text], rules.languages)
        if spoken not in (*rules.languages, language.UNDETERMINED):
            reason = "language"
    return Cleaned(text, reason, spoken, masked)


def _tidy(text: str, mask_pii: bool) -> tuple[str, dict[str, int]]:
    """Normalise and mask until both leave it as it is; nearly always that is at once."""
    counts: Counter[str] = Counter()
    while True:
        text = normalise(text)
        found: Counter[str] = Counter()
        if mask_pii:
            text, found = pii.mask(text)
            counts.update(found)
        mended = mojibake(text)
        if mended == text and (text.isascii() or not found):
            return text, dict(counts)
        text = mended


def against_length(document: Words, rules: Rules) -> str:
    """Say whether a text is too short, too long, or has too few letters among its characters."""
    words = len(document.words)
    if words < rules.min_words or not words:
        return "too_short"
    if words > rules.max_words:
        return "too_long"
    return "few_letters" if letters(document.text) < rules.min_letters * document.characters else ""


def letters(text: str) -> int:
    """Count letters, and the marks on them, which many scripts write vowels with."""
    if text.isascii():
        return len(text) - len(text.encode("ascii").translate(None, LETTERS))
    return sum(map(_is_letter.__getitem__, text))


class _Letters(dict[str, bool]):
    """Knows of each character that it has met whether it is a letter."""

    def __missing__(self, character: str) -> bool:
        self[character] = unicodedata.category(character)[0] in "LM"
        return self[character]


_is_letter = _Letters()
