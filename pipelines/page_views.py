"""How an answer looks: a view a task type, as HTML that needs no script; text from data is escaped.

Colour never says anything alone: each mark has its label and its confidence in words beside it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from steps.core.params import choose

COLOURS = 8  # of labels, in page.css
MOST_BARS = 12
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """`item`: what was asked; `labels`: those that the bundle knows, which gives each its colour;
    `known`: numbers of the test set, to compare one with.
    """

    item: Fields
    answer: Fields
    labels: Sequence[str] = ()
    known: Sequence[float] = ()


def view(kind: str, shown: Shown) -> str:
    """Return the answer as HTML; StepError where a type has no view."""
    return choose(kind, VIEWS, "task type")(shown)


def _bars(shown: Shown) -> str:
    """The classes, the most probable first."""
    shares = shown.answer["probabilities"]
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    return _headline(shown.answer["label"], shown.answer["confidence"]) + _table(
        ranked, {shown.answer["label"]}
    )


def _sentiment(shown: Shown) -> str:
    """The classes in their order, and the text's place between the ends."""
    shares, place = shown.answer["probabilities"], shown.answer.get("score")
    said = _headline(shown.answer["label"], shown.answer["confidence"])
    if place is not None:
        ends = list(shares)
        said += (
            f"<p>Its place: {place:+.2f} between −1 ({_e(ends[0])}) and +1 ({_e(ends[-1])}).</p>"
        )
    return said + _table(list(shares.items()), {shown.answer["label"]})


def _multilabel(shown: Shown) -> str:
    given, shares = shown.answer["labels"], shown.answer["probabilities"]
    said = ", ".join(map(_e, given)) or "no label"
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    line = f'<p class="headline">{said}</p><p>A label is given from 50% on, each for itself.</p>'
    return line + _table(ranked, set(given))


def _pair(shown: Shown) -> str:
    return _beside(("text", shown.item["text"]), ("pair", shown.item["pair"])) + _bars(shown)


def _number(shown: Shown) -> str:
    """The number, and where it stands among those of the test set."""
    number = float(shown.answer["score"])
    said = f'<p class="headline">{number:.3g} <small>score</small></p>'
    if not shown.known:
        return said
    below = sum(one < number for one in shown.known) / len(shown.known)
    low, high = min(shown.known), max(shown.known)
    return (
        f"{said}<p>In the test set scores go from {low:.3g} to {high:.3g}; {below:.0%} of them are"
        " below this one. A number comes without a confidence.</p>"
    )


def _entities(shown: Shown) -> str:
    found = shown.answer["entities"]
    if not found:
        return _passage(_e(shown.item["text"])) + "<p>Nothing was marked.</p>"
    return _passage(_marked(shown, found)) + _listed(found)


def _tags(shown: Shown) -> str:
    return _passage(_marked(shown, shown.answer["tags"]), "tagged")


def _found(shown: Shown) -> str:
    """The answer, and where it is in its passage."""
    said, start = shown.answer["answer"], shown.answer["start"]
    sure, text = shown.answer["confidence"], shown.item["text"]
    question = f"<p>{_e(shown.item['question'])}</p>"
    if start is None:
        none = f'<p class="headline">No answer in this text {_sure(sure)}</p>'
        return question + none + _passage(_e(text))
    end = start + len(said)
    inside = f"{_e(text[:start])}<mark class='c0'>{_e(text[start:end])}</mark>{_e(text[end:])}"
    return question + _headline(said, sure) + _passage(inside)


def _written(name: str) -> Callable[[Shown], str]:
    """A text that was written, beside that which was read."""

    def show(shown: Shown) -> str:
        texts = _beside(("source", shown.item["text"]), (name, shown.answer[name]))
        return f"{texts}<p>Confidence {_percent(shown.answer['confidence'])}.</p>"

    return show


def _ranked(shown: Shown) -> str:
    """The passages, the nearest first; `found`: pairs of a passage and its cosine."""
    found = shown.answer.get("found") or []
    if not found:
        size = len(shown.answer["vector"])
        return f"<p>A vector of {size} numbers; there is no passage here to rank.</p>"
    rows = "".join(f"<li>{_e(text)} <small>cosine {near:.2f}</small></li>" for text, near in found)
    return f'<ol class="ranked">{rows}</ol>'


def _headline(said: str, sure: float) -> str:
    return f'<p class="headline">{_e(said)} {_sure(sure)}</p>'


def _sure(sure: float) -> str:
    return f"<small>confidence {_percent(sure)}</small>"


def _table(rows: Sequence[tuple[str, float]], chosen: set[str]) -> str:
    """Bars with their numbers; what is chosen is bold and has a tick."""
    shown = "".join(
        f"<tr{' class=chosen' if name in chosen else ''}><th scope=row>{_e(name)}"
        f"{' ✓' if name in chosen else ''}</th><td aria-hidden=true>"
        f'<span class="bar" style="width:{100 * share:.1f}%"></span></td>'
        f"<td>{_percent(share)}</td></tr>"
        for name, share in rows[:MOST_BARS]
    )
    rest = len(rows) - MOST_BARS
    more = f"<p>and {rest} less probable</p>" if rest > 0 else ""
    return f'<table class="bars"><tbody>{shown}</tbody></table>{more}'


def _marked(shown: Shown, spans: Iterable[Fields]) -> str:
    """The text with its spans; of two that overlap the first is shown."""
    text, at, parts = str(shown.item["text"]), 0, []
    colour = {label: number % COLOURS for number, label in enumerate(shown.labels)}
    for span in sorted(spans, key=lambda span: int(span["start"])):
        if span["start"] < at:
            continue
        said = f"{_e(span['label'])} {_percent(span['confidence'])}"
        parts.append(
            f'{_e(text[at : span["start"]])}<mark class="c{colour.get(span["label"], 0)}">'
            f"{_e(text[span['start'] : span['end']])}<small>{said}</small></mark>"
        )
        at = span["end"]
    return "".join(parts) + _e(text[at:])


def _listed(spans: Sequence[Fields]) -> str:
    """The same as a table, which is easier to read aloud and to copy."""
    rows = "".join(
        f"<tr><th scope=row>{_e(span['text'])}</th><td>{_e(span['label'])}</td>"
        f"<td>{_percent(span['confidence'])}</td></tr>"
        for span in spans
    )
    head = "<tr><th scope=col>text</th><th scope=col>label</th><th scope=col>confidence</th></tr>"
    return f'<table class="spans"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _beside(*texts: tuple[str, str]) -> str:
    parts = "".join(
        f"<div><h4>{_e(name)}</h4>{_passage(_e(text) or '<em>empty</em>')}</div>"
        for name, text in texts
    )
    return f'<div class="beside">{parts}</div>'


def _passage(inside: str, more: str = "") -> str:
    """A text that may be long: it has a height, and can be scrolled by keys."""
    return f'<div class="passage {more}" tabindex=0 dir=auto>{inside}</div>'


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share < 0.995 or share == 1 else f"{100 * share:.1f}%"


def _e(text: object) -> str:
    return escape(str(text))


VIEWS: dict[str, Callable[[Shown], str]] = {
    "classification": _bars,
    "sentiment": _sentiment,
    "multilabel": _multilabel,
    "regression": _number,
    "pairs": _pair,
    "tokens": _entities,
    "tags": _tags,
    "question_answering": _found,
    "translation": _written("translation"),
    "summarisation": _written("summary"),
    "generation": _written("continuation"),
    "retrieval": _ranked,
}
