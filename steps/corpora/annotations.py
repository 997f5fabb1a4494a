"""What is said of a text: whether it can be so, and how it follows when the text is cleaned."""

from collections.abc import Callable
from typing import Any

from steps.corpora.normalise import normalise, normalise_spans

Record = dict[str, Any]
NEEDED = {"question_answering": ("question", "answers"), "translation": ("target",)}


def against(record: Record, kind: str) -> str:
    """Say why an example's annotation cannot be so, or nothing."""
    if kind == "classification":
        return "" if str(record.get("label") or "").strip() else "no_label"
    if kind == "tokens":
        return _against_spans(record["text"], record.get("spans"))
    if missing := [name for name in NEEDED.get(kind, ()) if record.get(name) is None]:
        return f"no_{missing[0]}"
    if kind == "question_answering" and not all(map(_stands_in(record["text"]), record["answers"])):
        return "answer_offset"
    return ""


def _stands_in(text: str) -> Callable[[Record], bool]:
    return lambda found: found["start"] >= 0 and text.startswith(found["text"], found["start"])


def _against_spans(text: str, spans: list[Record] | None) -> str:
    """Spans must lie inside the text, in order and apart."""
    end = 0
    for span in sorted(spans or [], key=lambda span: span["start"]):
        if not end <= span["start"] < span["end"] <= len(text):
            return "bad_spans"
        end = span["end"]
    return "" if spans is not None else "no_spans"


def normalised(record: Record, kind: str) -> Record:
    """Return the example with its text normalised and its annotation moved along."""
    if kind == "tokens":
        text, spans = normalise_spans(record["text"], record["spans"])
        return record | {"text": text, "spans": spans}
    if kind == "question_answering":
        spans = [
            {"start": answer["start"], "end": answer["start"] + len(answer["text"]), "label": ""}
            for answer in record["answers"]
        ]
        text, spans = normalise_spans(record["text"], spans)
        answers = [{"start": s["start"], "text": text[s["start"] : s["end"]]} for s in spans]
        return record | {
            "text": text,
            "answers": answers,
            "question": normalise(record["question"]),
        }
    changed = {"text": normalise(record["text"])}
    if kind == "classification":
        changed["label"] = str(record["label"]).strip()
    if kind == "translation":
        changed["target"] = normalise(record["target"])
    return record | changed
