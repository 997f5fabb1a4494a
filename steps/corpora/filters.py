"""Filters say nothing of a document that is to be kept, and else why not.

From Gopher (Rae et al. 2021, section A.1.1) and C4 (Raffel et al. 2020, section 2.2), where they
judge a whole document. C4's other rules edit text (lines without an end mark or of few words,
citation marks) or compare documents (three sentences that occur elsewhere), or need a list of bad
words: left out. The number of words is a rule of each corpus, `min_words` and `max_words`; the rest
is made for pages of 50 words and more, and strict with single sentences.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_letters

from steps.corpora import language, repetition

UNSPACED = re.compile(  # scripts without blanks between words: Thai to Khmer, kana, Chinese
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff]"
)
UNITS = re.compile(rf"{UNSPACED.pattern}|[^\s{UNSPACED.pattern[1:]}+")
UNSPACED_SHARE = 0.25  # of all units; from here on a text is judged as one without blanks
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = tuple("•‣◦▪●○■□·*-–—")
ELLIPSES = ("...", "…")
NO_LETTER = bytes(code for code in range(128) if not chr(code).isalpha() and chr(code) not in " \n")
SHAPE = bytes.maketrans(b"\n" + ascii_letters.encode(), b" " + b"a" * 52)
LETTERED = re.compile(r"[^\W\d_]\S*")  # as often as there are words with a letter
ENDS = ".!?…؟۔։።။"
SENTENCE = re.compile(rf"(?<![{ENDS}])[{ENDS}]++[\"'”’»)\]]*+(?=\s|\Z)|[。！？｡।॥།]")
NO_FULL_STOP = re.compile("[\u0e00-\u0eff]")  # Thai and Lao end a sentence with a blank
SCRIPT_NOTICE = re.compile(
    r"(?:enabl|activat|turn(?:ed)? on|without|requires|support)\w* (?:\w+ ){0,2}javascript"
    r"|javascript[^.\n]{0,30} (?:enabled|activated|disabled|turned o|is required|not supported)"
)
POLICY = re.compile(
    r"terms (?:of use|of service|and conditions)|(?:privacy|cookie) policy|uses? (?:of )?cookies"
)


@dataclass(frozen=True)
class Words:
    """A document as filters read it; what several of them need is computed once.

    `text`: normalised. `raw`: before its white space was folded, for it has the lines.
    """

    text: str
    raw: str

    @cached_property
    def words(self) -> list[str]:
        """What stands between blanks; in scripts that have none each character is a word."""
        if self.text.isascii() or not UNSPACED.search(self.text):
            return self.text.split()
        return UNITS.findall(self.text)

    @cached_property
    def spaced(self) -> bool:
        """Whether rules about the form of words make sense."""
        if self.text.isascii():
            return True
        return len(UNSPACED.findall(self.text)) < UNSPACED_SHARE * len(self.words)

    @cached_property
    def characters(self) -> int:
        """Characters but white space, of which a normalised text has two kinds."""
        return len(self.text) - self.text.count(" ") - self.text.count("\n")

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not empty."""
        return [stripped for line in self.raw.splitlines() if (stripped := line.strip())]

    @cached_property
    def paragraphs(self) -> list[str]:
        return self.text.split("\n\n")


Filter = Callable[[Words], str]


def gopher_quality(document: Words) -> str:
    """Does it look like prose? The form of words is judged where blanks stand between them."""
    words = len(document.words)
    if any(document.text.count(mark) > 0.1 * words for mark in ("#", *ELLIPSES)):
        return "symbols"
    if reason := _against_lines(document.lines):
        return reason
    if not document.spaced:
        return ""
    if not 3 * words <= document.characters <= 10 * words:
        return "mean_word_length"
    if _with_letter(document.text) < 0.8 * words:
        return "words_without_letters"
    return "" if _has_stop_words(document) else "stop_words"


def gopher_repetition(document: Words) -> str:
    """Does it say the same again and again? A word of Chinese or Thai counts as two characters."""
    return repetition.against_lines(document.lines, document.paragraphs) or (
        repetition.against_ngrams(document.words, 1 if document.spaced else 2)
    )


def c4(document: Words) -> str:
    """Is it a page of a website's machinery? Notices condemn a text of which they are the half."""
    lowered = document.text.lower()
    if "lorem ipsum" in lowered:
        return "lorem_ipsum"
    if "{" in lowered:
        return "curly_brackets"
    if "javascript" in lowered and _mostly(SCRIPT_NOTICE, document.lines):
        return "javascript_notice"
    legal = any(word in lowered for word in ("terms of", "terms and", " policy", " cookies"))
    if legal and _mostly(POLICY, document.lines):
        return "policy_notice"
    return "few_sentences" if _sentences_below(3, document.text) else ""


FILTERS: dict[str, Filter] = {
    "gopher_quality": gopher_quality,
    "gopher_repetition": gopher_repetition,
    "c4": c4,
}


def _against_lines(lines: Sequence[str]) -> str:
    """Lists and teasers; a single line is neither."""
    if len(lines) < 2:
        return ""
    if sum(line.startswith(BULLETS) for line in lines) > 0.9 * len(lines):
        return "bullets"
    cut = sum(line.endswith(ELLIPSES) for line in lines)
    return "ellipses" if cut > 0.3 * len(lines) else ""


def _with_letter(text: str) -> int:
    """How many words have a letter; of ASCII only letters and blanks are left, and words begin."""
    if text.isascii():
        return f" {text}".encode("ascii").translate(SHAPE, NO_LETTER).count(b" a")
    return len(LETTERED.findall(text))


def _has_stop_words(document: Words) -> bool:
    """At least two, not one twice; of a text that fails it is asked whether it is English."""
    found = 0
    for word in STOP_WORDS:  # between blanks it is a word for sure
        found += f" {word} " in document.text
        if found == 2:
            return True
    if len(STOP_WORDS.intersection(map(str.lower, document.words))) >= 2:
        return True
    return language.identify([document.text])[0] not in ("en", language.UNDETERMINED)


def _mostly(notice: re.Pattern[str], lines: Sequence[str]) -> bool:
    """Whether lines with the notice have half the text."""
    noted = sum(len(line) for line in lines if notice.search(line.lower()))
    return 2 * noted >= sum(map(len, lines))


def _sentences_below(least: int, text: str) -> bool:
    """Sentences by their ends; the last one need not have one."""
    found, at = 0, 0
    for end in SENTENCE.finditer(text):
        found, at = found + 1, end.end()
        if found == least:
            return False
    return found + (at < len(text)) < least and not NO_FULL_STOP.search(text)
