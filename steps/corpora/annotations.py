"""What is said of a text: whether it can be so, and how it follows when the text is cleaned."""

from collections.abc import Callable
from math import isfinite
from typing import Any

from steps.core.examples import KINDS
from steps.corpora.normalise import normalise, normalise_spans

Record = dict[str, Any]


def against(record: Record, kind: str) -> str:
    """Say why an example's annotation cannot be so, or nothing."""
    found = (AGAINST[name](record, kind) for name in KINDS[kind])
    return next(filter(None, found), "")


def normalised(record: Record, kind: str) -> Record:
    """Return the example with its text normalised and its annotation moved along."""
    made = {name: FOLLOWS[name](record[name]) for name in KINDS[kind] if name in FOLLOWS}
    if "spans" in KINDS[kind]:
        made["text"], made["spans"] = normalise_spans(record["text"], record["spans"])
    elif "answers" in KINDS[kind]:
        made["text"], made["answers"] = _answers(record["text"], record["answers"])
    else:
        made["text"] = normalise(record["text"])
    return record | made


def _answers(text: str, answers: list[Record]) -> tuple[str, list[Record]]:
    ends = ((answer["start"], answer["start"] + len(answer["text"])) for answer in answers)
    marked = [{"start": start, "end": end, "label": ""} for start, end in ends]
    text, spans = normalise_spans(text, marked)
    return text, [{"start": s["start"], "text": text[s["start"] : s["end"]]} for s in spans]


def _said(name: str) -> Callable[[Record, str], str]:
    """A text that must not be blank, nor become so when it is cleaned."""

    def against_text(record: Record, kind: str) -> str:
        return "" if normalise(str(record.get(name) or "")) else f"no_{name}"

    return against_text


def _against_labels(record: Record, kind: str) -> str:
    """None of the labels is an answer, too."""
    labels = record.get("labels")
    if labels is None:
        return "no_labels"
    return "" if all(isinstance(x, str) and x.strip() for x in labels) else "bad_labels"


def _against_score(record: Record, kind: str) -> str:
    score = record.get("score")
    if score is None:
        return "no_score"
    return "" if isinstance(score, float) and isfinite(score) else "bad_score"


def _against_spans(record: Record, kind: str) -> str:
    """Spans must lie inside the text, apart, and have labels; tags leave no word out."""
    spans, text, end = record.get("spans"), record["text"], 0
    if spans is None:
        return "no_spans"
    between = []
    for span in sorted(spans, key=lambda span: span["start"]):
        inside = end <= span["start"] < span["end"] <= len(text)
        if not inside or not span["label"].strip():
            return "bad_spans"
        between.append(text[end : span["start"]])
        end = span["end"]
    bare = "".join([*between, text[end:]]) if kind == "tags" else ""
    return "untagged_word" if normalise(bare) else ""


def _against_answers(record: Record, kind: str) -> str:
    """Answers must stand where they say; that there is none is an answer, too, a blank is not."""
    answers, text = record.get("answers"), record["text"]
    if answers is None or not all(normalise(one["text"]) for one in answers):
        return "no_answers"
    stand = (one["start"] >= 0 and text.startswith(one["text"], one["start"]) for one in answers)
    return "" if all(stand) else "answer_offset"


AGAINST: dict[str, Callable[[Record, str], str]] = {
    "labels": _against_labels,
    "score": _against_score,
    "spans": _against_spans,
    "answers": _against_answers,
    **{name: _said(name) for name in ("label", "pair", "question", "target")},
}
FOLLOWS: dict[str, Callable[[Any], Any]] = {
    "label": lambda label: str(label).strip(),
    "labels": lambda labels: sorted({label.strip() for label in labels}),
    **dict.fromkeys(("pair", "question", "target"), normalise),
}
