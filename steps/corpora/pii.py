"""Personal data becomes typed placeholders; a number with a checksum only where it holds."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable

EMAIL = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b")
KEY = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{35}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----)?",
    re.DOTALL,
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d.-]*\d)")
MAYBE = re.compile(  # what every text with personal data has: nine in ten others stop here
    r"@|\d[\d .:()/-]{4}|[0-9a-fA-F]:[0-9a-fA-F:]{3}|PRIVATE KEY|(?<![\w-])[\w-]{20}"
)
IP = re.compile(
    r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-fA-F]{1,4}|:)(?::[0-9a-fA-F]{0,4}){2,7})(?![\w:]|\.\d)"
)
PHONE = re.compile(r"(?<![\w.+])\+[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,4}\)?){2,5}(?!\w)")


def mask(text: str) -> tuple[str, Counter[str]]:
    """Replace personal data; returns the text and how much of each type was masked."""
    counts: Counter[str] = Counter()
    if not MAYBE.search(text):
        return text, counts
    for name, pattern, holds in MASKS:

        def put(found: re.Match[str], name: str = name, holds: Check = holds) -> str:
            if not holds(found[0]):
                return found[0]
            counts[name] += 1
            return f"<{name}>"

        text = pattern.sub(put, text)
    return text, counts


Check = Callable[[str], bool]


def is_iban(text: str) -> bool:
    """ISO 13616: the digits, country moved to the end, are 1 modulo 97."""
    packed = text.replace(" ", "")
    turned = packed[4:] + packed[:4]
    return 15 <= len(packed) <= 34 and int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def is_card(text: str) -> bool:
    """ISO 7812: the first digit is that of a payment network, and Luhn's sum holds."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return digits[0] in (2, 3, 4, 5, 6) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_public_ip(text: str) -> bool:
    """Loopback, private and documentation addresses point at nobody."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def is_phone(text: str) -> bool:
    """E.164: an international number has 8 to 15 digits."""
    return 8 <= sum(char.isdigit() for char in text) <= 15


MASKS: tuple[tuple[str, re.Pattern[str], Check], ...] = (
    ("KEY", KEY, bool),
    ("EMAIL", EMAIL, bool),
    ("IBAN", IBAN, is_iban),
    ("CARD", CARD, is_card),
    ("IP", IP, is_public_ip),
    ("PHONE", PHONE, is_phone),
)
