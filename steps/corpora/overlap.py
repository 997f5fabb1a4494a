"""The forms of a text in which texts are compared."""

import re
import unicodedata

MARKERS = ("<<", ">>", "[[", "]]")
_KEPT = {"L", "M", "N"}  # letters, marks (vowels, in many scripts) and numbers
_ALONE = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class _Separators(dict[int, str]):
    """A table for str.translate that learns each character when it first meets it."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = unicodedata.category(character)[0] in _KEPT or character == "_"
        alone = f" {character} " if _ALONE.match(character) else character
        self[code] = alone if kept else " "
        return self[code]


_TABLE = _Separators()
_PROTECTED = [(marker, f" \ue000{place} ") for place, marker in enumerate(MARKERS)]
_TABLE[0x1E] = "\x1e"  # white space as well, and no text holds it: parts paragraphs
_TABLE[0xE000] = "\ue000"  # private use: stands for a marker while punctuation goes


def words(text: str) -> list[str]:
    """Return the words without case, compatibility forms and punctuation; markers are words.

    Scripts without spaces (Chinese, Japanese, Thai, ...) give one word a character.
    """
    return _plain(text).split()


def _plain(text: str) -> str:
    folded = text.lower() if text.isascii() else _fold(text)
    for marker, stand_in in _PROTECTED:
        if marker in folded:
            folded = folded.replace(marker, stand_in)
    return folded.translate(_TABLE)


def parted(texts: list[str]) -> list[list[str]]:
    """The words of each of several texts, for the price of one."""
    joined = "\x1e".join(text.replace("\x1e", " ") for text in texts)
    return [part.split() for part in _plain(joined).split("\x1e")]


def normalised(text: str) -> str:
    """Return the form in which texts are compared; a text without words is compared as it is."""
    return " ".join(words(text)) or text.strip()


def unmarked(text: str) -> str:
    """As `normalised`, with the markers taken out."""
    return " ".join(word for word in words(text) if word[0] != "\ue000") or text.strip()


def collapsed(text: str) -> str:
    """Compose (NFC), fold case and collapse white space; punctuation and markers stay."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).casefold()
        return " ".join(unicodedata.normalize("NFC", text).split())
    return " ".join(text.lower().split())


def _fold(text: str) -> str:
    """NFKC_Casefold (Unicode 3.13, D146), save that nothing is removed."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
