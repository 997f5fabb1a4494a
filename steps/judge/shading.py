"""An error's text in colours: what the winner went by, as pieces that a page can show."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from steps.judge.calibration import WORD
from steps.judge.worst import cut, shown_fields

STRENGTHS = 5  # shades on either side
NAMED = 3  # words on either side that are also named
LEAST = 0.2  # of the strongest token, from which a word is named
METHODS = {  # how to read the colours of a method
    "integrated_gradients": (
        "By integrated gradients (Sundararajan et al. 2017): what each token adds to the score of "
        "the label, on the way from the text with all its tokens masked to the text itself."
    ),
    "weights": "The winner is linear: what a word adds is its weight times its value, exactly.",
    "attention": (
        "Where the last layer looks, mean over its heads, from the tokens that the answer is read "
        "off. That it looked there does not prove that the answer comes from there: attention has "
        "no sign, tokens have already mixed in the layers below, and quite other attention often "
        "gives the same answer (Jain and Wallace 2019)."
    ),
}


def shaded(error: Mapping[str, Any], example: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """Each field that is read, as pieces: text, value, strength (0 to 5), asked (about it)."""
    marks, found = error.get("attributions") or [], []
    for name in shown_fields(kind) if marks else ():
        own = [mark for mark in marks if mark["field"] == name]
        span = error["explained_at"] if name == "text" else None
        found.append({"field": name, "pieces": pieces(str(example[name]), own, span)})
    return found


def pieces(
    text: str, marks: Sequence[Mapping[str, Any]], span: Sequence[int] | None
) -> list[dict[str, Any]]:
    """Cut a text where a mark, or the span that is asked about, begins or ends."""
    strongest = max(marks, key=lambda mark: abs(mark["value"]), default={"start": 0})
    first, last = cut(text, span[0] if span else strongest["start"])
    bounds = [(mark["start"], mark["end"]) for mark in marks] + [tuple(span or (0, 0))]
    cuts = {first, last, *(at for pair in bounds for at in pair if first < at < last)}
    found = []
    for start, end in pairwise(sorted(cuts)):
        value = sum(m["value"] for m in marks if m["start"] <= start < m["end"])
        value = max(-1.0, min(1.0, value))  # pieces of one character, such as of an emoji
        asked = span is not None and span[0] <= start < span[1]
        strength = round(STRENGTHS * abs(value))
        found.append(
            {"text": text[start:end], "value": value, "strength": strength, "asked": asked}
        )
    if found and first > 0:
        found[0]["text"] = f"…{found[0]['text']}"
    if found and last < len(text):
        found[-1]["text"] += "…"
    return found


def strongest(
    error: Mapping[str, Any], example: Mapping[str, Any], sign: int
) -> list[tuple[str, float]]:
    """The words that say most for (1) or against (-1) the label, the strongest first, each with
    what its tokens do together.
    """
    marks = error.get("attributions") or []
    said = [
        pair
        for name in dict.fromkeys(mark["field"] for mark in marks)
        for pair in _words(str(example[name]), [m for m in marks if m["field"] == name])
        if sign * pair[1] >= LEAST
    ]
    return sorted(said, key=lambda pair: -abs(pair[1]))[:NAMED]


def _words(text: str, marks: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    found = []
    for word in WORD.finditer(text):
        own = [m["value"] for m in marks if word.start() <= m["start"] < word.end()]
        found.append((word.group(), sum(own)))
    return found
