"""What an answer went by, for the page: what may be asked about it, and how the reply looks.

The attributions are those of stage `report`, by the bundle that answered.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from steps.core.params import Explain
from steps.judge.shading import METHODS, shaded

STEPS = 32  # of integrated gradients: twice the report's, for what is asked about is one answer
GRADIENTS = Explain(method="integrated_gradients", steps=STEPS, errors=1)
MOST_ASKED = 50  # spans, or labels, to choose from
MOST_LOOKED = 4  # tokens that are named of each head
NO_PROOF = (
    "That a head looked at a word does not prove that the answer comes from there: tokens have"
    " already mixed in the layers below, other heads may undo it, and quite other attention often"
    " gives the same answer (Jain and Wallace 2019). Trust the attributions first, and neither"
    " without trying another text."
)
Fields = Mapping[str, Any]
Asked = tuple[str, str, tuple[int, int] | None]  # what is shown, the label, where in the text
Reason = Callable[[Path, str, dict[str, Any], Asked], str]  # bundle, type, item, asked -> HTML


def questions(kind: str, answer: Fields) -> list[Asked]:
    """What can be asked about an answer, what was chosen first; [] of a type without labels."""
    asked = ASKED.get(kind)
    return asked(answer)[:MOST_ASKED] if asked else []


def _labels(answer: Fields) -> list[Asked]:
    ranked = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])
    return [(name, name, None) for name, _ in ranked]


def _number(answer: Fields) -> list[Asked]:
    return [("the score", "the score", None)]


def _spans(answer: Fields) -> list[Asked]:
    return [
        (f"{span['text']} ({span['label']})", span["label"], (span["start"], span["end"]))
        for span in answer.get("entities") or answer.get("tags") or []
    ]


def _found(answer: Fields) -> list[Asked]:
    said = answer["answer"] or "no answer"
    return [(said, said, None)]


ASKED: dict[str, Callable[[Fields], list[Asked]]] = {
    "classification": _labels,
    "sentiment": _labels,
    "pairs": _labels,
    "multilabel": _labels,
    "tokens": _spans,
    "tags": _spans,
    "question_answering": _found,
    "regression": _number,
}


def why(reason: Reason, found: Fields, n: int | None) -> str:
    """What `reason` says of the n-th of the questions about an answer, as the page keeps it."""
    asked = questions(found["type"], found["answer"]) if found else []
    if n is None or not 0 <= n < len(asked):
        return _note("There is nothing here to ask about; ask for an answer first.")
    return reason(found["bundle"], found["type"], found["item"], asked[n])


def attributed(bundle: Path, kind: str, item: dict[str, Any], asked: Asked) -> str:
    """Each field of the item in colours: what raised the score of the label, and what lowered it;
    or why there is nothing to show.
    """
    from steps.transfer.attribution import Question, explain, unable

    if why := unable(bundle, GRADIENTS):
        return _note(why)
    shown, label, span = asked
    (found,) = explain(bundle, [Question(item, label, span)], GRADIENTS)
    if not found.marks:
        return _note("Nothing in this text can be weighed.")
    marks = [vars(mark) for mark in found.marks]
    fields = shaded({"attributions": marks, "explained_at": span}, item, kind)
    texts = "".join(_field(one, len(fields) > 1) for one in fields)
    return (
        f"<h4>What raised (blue, solid) and lowered (orange, dotted) {escape(shown)}</h4>{texts}"
        f"{_note(METHODS[found.method] + _off(found.completeness))}"
    )


def _off(completeness: float | None) -> str:
    if completeness is None:
        return ""
    return f" What is shown adds up to the whole but for {100 * completeness:.1f}%."


def _field(one: Fields, named: bool) -> str:
    pieces = "".join(map(_piece, one["pieces"]))
    head = f"<h5>{escape(one['field'])}</h5>" if named else ""
    return f'{head}<div class="passage" tabindex=0 dir=auto>{pieces}</div>'


def _piece(piece: Fields) -> str:
    text = escape(piece["text"])
    text = f"<b>{text}</b>" if piece["asked"] else text
    if not piece["strength"]:
        return text
    side = "up" if piece["value"] > 0 else "down"
    value = f"{piece['value']:+.2f}"
    return f'<span class="{side} s{piece["strength"]}" title="{value}">{text}</span>'


def looked(bundle: Path, kind: str, item: dict[str, Any], asked: Asked) -> str:
    """A table a layer of where its heads look most, the last layer open; or why there is none."""
    if not (bundle / "network.json").exists():
        return _note("This model is no network with attention: it has no heads to look into.")
    from steps.transfer.attribution import Question
    from steps.transfer.attribution.heads import Heads

    shown, label, span = asked
    layers = Heads(bundle).each(Question(item, label, span))
    tables = "".join(
        f"<details{' open' if at == len(layers) else ''}><summary>Layer {at} of {len(layers)}"
        f"</summary>{_heads(layer, item)}</details>"
        for at, layer in reversed(list(enumerate(layers, 1)))
    )
    if not tables:
        return _note("Nothing in this text can be looked at.")
    head = f"<h4>Where each head looks from the tokens that {escape(shown)} is read off</h4>"
    return f"{_note(NO_PROOF)}{head}{tables}"


def _heads(layer: Sequence[Sequence[Any]], item: Fields) -> str:
    rows = ""
    for number, marks in enumerate(layer, 1):
        best = sorted(marks, key=lambda mark: -mark.value)[:MOST_LOOKED]
        words = [escape(str(item[mark.field])[mark.start : mark.end]) for mark in best]
        pairs = zip(words, best, strict=True)
        said = ", ".join(f"{word} <small>{mark.value:.0%}</small>" for word, mark in pairs)
        rest = max(0.0, 1 - sum(mark.value for mark in marks))
        rows += f"<tr><th scope=row>{number}</th><td>{said}</td><td>{rest:.0%}</td></tr>"
    head = "".join(f"<th scope=col>{name}</th>" for name in ("head", "most at", "at no word"))
    return f'<table class="heads"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
