"""Token classification: a unit a word, in the IOB2 scheme; its reference is `spans`."""

import re
from typing import Any

import numpy as np

from steps.tasks import Prediction

POOL = "first"
TFIDF = False
WORD = re.compile(r"\w+|[^\w\s]")
Spans = list[list[Any]]  # [start, end, label], end exclusive


def labels(examples: list[dict[str, Any]]) -> list[str]:
    return sorted({span["label"] for example in examples for span in example["spans"]})


def reference(example: dict[str, Any]) -> Spans:
    return [[span["start"], span["end"], span["label"]] for span in example["spans"]]


def classes(labels: list[str]) -> list[str]:
    return ["O", *(f"{mark}-{label}" for label in labels for mark in "BI")]


def units(text: str) -> list[tuple[int, int]]:
    """Words, and each other sign by itself, so that no span ends inside a unit."""
    return [match.span() for match in WORD.finditer(text)]


def targets(example: dict[str, Any], classes: list[str]) -> list[int]:
    """Number each word's IOB2 tag; labels that training never saw count as outside."""
    number = {name: place for place, name in enumerate(classes)}
    found = []
    for start, end in units(example["text"]):
        span = next((s for s in example["spans"] if s["start"] < end and start < s["end"]), None)
        mark = "B" if span and start <= span["start"] else "I"
        found.append(number.get(f"{mark}-{span['label']}", 0) if span else 0)
    return found


def features(text: str) -> list[dict[str, float]]:
    """Each word's form, shape and affixes, and those of two neighbours on each side."""
    words = [text[start:end] for start, end in units(text)]
    joined = [end for _, end in units(text)]
    glued = [i > 0 and joined[i - 1] == start for i, (start, _) in enumerate(units(text))]
    rows = []
    for place in range(len(words)):
        row = {"bias": 1.0, f"glued={glued[place]}": 1.0}
        for offset in range(-2, 3):
            at = place + offset
            word = words[at] if 0 <= at < len(words) else "<edge>"
            row |= dict.fromkeys(_looks(word, offset), 1.0)
        rows.append(row)
    return rows


def _looks(word: str, offset: int) -> list[str]:
    shape = re.sub(r"(.)\1+", r"\1+", _shape(word))
    looks = [f"{offset}:word={word.lower()}", f"{offset}:shape={shape}"]
    if offset == 0:
        affixes = [f"{n}<{word[:n]}" for n in (1, 2, 3)] + [f"{n}>{word[-n:]}" for n in (1, 2, 3)]
        looks += [f"form={word}", *affixes]
    return looks


def _shape(word: str) -> str:
    return "".join(
        "X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word
    )


def decode(text: str, probabilities: np.ndarray, classes: list[str]) -> Prediction:
    """probabilities: (words, classes). An I- tag that continues nothing begins a span."""
    best = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    entities: list[dict[str, Any]] = []
    parts: list[list[float]] = []
    before = "O"
    for (start, end), number, share in zip(units(text), best, sure, strict=True):
        tag = classes[int(number)]
        if tag == "O":
            before = tag
            continue
        if tag[0] == "B" or before[2:] != tag[2:]:
            entities.append({"start": start, "label": tag[2:]})
            parts.append([])
        entities[-1] |= {"end": end, "text": text[entities[-1]["start"] : end]}
        parts[-1].append(float(share))
        before = tag
    for entity, shares in zip(entities, parts, strict=True):
        entity["confidence"] = float(np.mean(shares))
    value = [[entity["start"], entity["end"], entity["label"]] for entity in entities]
    return Prediction(value, float(sure.mean()) if len(sure) else 1.0, {"entities": entities})
