"""Personal data becomes typed placeholders; a number with a checksum only where it holds.

Numbers are judged by python-stdnum and phonenumbers (Google's libphonenumber), addresses by Python.
Not found: names, postal addresses, and phone numbers without their country's code.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

# Patterns start with a plain character class, which is searched for fastest; what may not stand
# before is looked up after their first character.
EMAIL = re.compile(r"(?<![\w.+-])\w[\w.+-]*@(?:[\w-]+\.)+[^\W\d_]{2,}\b")
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]{0,20000}-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
)
KEY = re.compile(
    r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}(?:={1,2}|\.eyJ[\w-]{13,}\.[\w-]{16,})?"
    r"(?![\w(\[]|\.\w)"
)
SECRET = re.compile(  # keys that have a form of their own
    r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|npm_[A-Za-z0-9]{36}"
    r"|pypi-AgE[\w-]{50,}|xox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|sk-[\w-]{20,}|AIza[\w-]{35}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
)
LETTERS_ONLY = re.compile(r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|hf_[A-Za-z0-9]{30,})\b")  # at times
NAME = re.compile(  # what stands before a value that is to be kept secret
    r"(?i:(?:api|access|auth|account|client|private|secret)[ _-]?(?:key|token|secret)|_key"
    r"|secret|token|passw(?:or)?d|\bbearer)[\"']?(?: ?(?:[:=]|=>) ?| )[\"']?\Z"
)
IBAN = re.compile(r"[A-Z](?<!\w.)[A-Z][0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
CARD = re.compile(
    r"[0-9](?<![\w.-].)(?:[0-9]{12,18}|[0-9]{3}(?:([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}"
    r"|([ -])[0-9]{6}\2[0-9]{4,5}))(?![\w-]|\.[0-9])"
)
ISSUED = re.compile(  # ISO 7812: the numbers that payment networks give out, by length
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]|2[2-7]|35)\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|6(?:011|5\d\d|4[4-9]\d|2\d\d)\d{12,15}"
)
IP = re.compile(
    r"[0-9](?<![\w.:=<>~^-].)(?<!ersion .)(?<!elease .)(?:[0-9]{0,2}(?:\.[0-9]{1,3}){3}"
    r"|(?<=[23])[0-9a-fA-F]{3}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w:]|\.\d)"
)
PHONE = re.compile(r"\+(?<![\w.+].)\(?[1-9](?:[ ./()-]{0,3}[0-9]){6,14}(?![0-9])")
# Most texts stop at these two
LONG = re.compile(  # in 16 characters each digit has 8 before it or 8 behind
    r"[0-9](?:(?<=[A-Za-z0-9+/_-]{8}.)|[A-Za-z0-9+/_-]{8})"
)
NUMBER = re.compile(  # what each phone, IBAN, card and address has
    r"[0-9](?:(?:[ ./()-]{0,3}[0-9]){6}|(?:[0-9]{0,2}\.[0-9]{1,3}){3}|[0-9a-fA-F]{3}:)"
)
RANDOM_BITS = 3.0  # a character of 16 in base 16 or 64 drawn at random has more
Check = Callable[[re.Match[str]], int]  # how many characters from the start are personal data


class Mask(NamedTuple):
    """One form of a type; no text has it without the `sign`, nor where the `hint` finds nothing."""

    type: str
    pattern: re.Pattern[str]
    check: Check
    sign: str = ""
    hint: re.Pattern[str] | None = None


def mask(text: str) -> tuple[str, Counter[str]]:
    """Replace personal data; returns the text and how much of each type was masked.

    What one pass uncovers the next one takes, so that masking twice changes nothing.
    """
    counts: Counter[str] = Counter()
    before = ""
    while text != before:
        before = text
        silent = [hint for hint in (NUMBER, LONG) if not hint.search(text)]
        for kind in MASKS:
            if kind.sign in text and kind.hint not in silent:
                text = _masked(text, kind, counts)
    return text, counts


def _masked(text: str, kind: Mask, counts: Counter[str]) -> str:
    """Put a type's placeholder where its pattern matches and the check holds."""

    def put(found: re.Match[str]) -> str:
        if not (length := kind.check(found)):
            return found[0]
        counts[kind.type] += 1
        return f"<{kind.type}>{found[0][length:]}"

    return kind.pattern.sub(put, text)


def whole(found: re.Match[str]) -> int:
    """What has the form is it."""
    return len(found[0])


def is_key(found: re.Match[str]) -> int:
    """A known form with a digit; or a value whose name says so, and that looks drawn at random."""
    piece, start = found[0], found.start()
    digits = sum(map(str.isdigit, piece))
    if digits and (known := SECRET.match(piece)):
        return known.end()
    if digits < 2 or piece.isdigit() or not NAME.search(found.string, max(0, start - 30), start):
        return 0
    shares = [count / len(piece) for count in Counter(piece).values()]
    random = -sum(share * math.log2(share) for share in shares) >= RANDOM_BITS
    return len(piece) if random else 0


def is_iban(found: re.Match[str]) -> int:
    """ISO 13616, country's format and sum; the words after a number may look like its end."""
    from stdnum import iban

    text = found[0]
    while text and not iban.is_valid(text, check_country=False):
        text = text.rpartition(" ")[0]
    return len(text)


def is_card(found: re.Match[str]) -> int:
    """ISO 7812: a network's number, and Luhn's sum holds."""
    from stdnum import luhn

    digits = re.sub("[ -]", "", found[0])
    return len(found[0]) if ISSUED.fullmatch(digits) and luhn.is_valid(digits) else 0


def is_ip(found: re.Match[str]) -> int:
    """Loopback, private and documentation addresses point at nobody."""
    try:
        return len(found[0]) if ipaddress.ip_address(found[0]).is_global else 0
    except ValueError:
        return 0


def is_phone(found: re.Match[str]) -> int:
    """A number that its country's plan has; what follows it is cut off."""
    from phonenumbers import PhoneNumberMatcher

    return next((m.end for m in PhoneNumberMatcher(found[0], None) if m.start <= 1), 0)


MASKS = (
    Mask("KEY", PRIVATE_KEY, whole, "PRIVATE KEY"),
    *(Mask("KEY", LETTERS_ONLY, whole, sign) for sign in ("AKIA", "ASIA", "hf_")),
    Mask("KEY", KEY, is_key, hint=LONG),
    Mask("EMAIL", EMAIL, whole, "@"),
    Mask("IBAN", IBAN, is_iban, hint=NUMBER),
    Mask("CARD", CARD, is_card, hint=NUMBER),
    Mask("PHONE", PHONE, is_phone, "+", hint=NUMBER),
    Mask("IP", IP, is_ip, hint=NUMBER),
)
