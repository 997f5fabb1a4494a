"""Token classification: a unit a word, in the IOB2 scheme; its reference is `spans`."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from steps.tasks import Item, Prediction, unseen

OUTPUT = "classes"
INPUTS: tuple[str, ...] = ("text",)
LEVEL = "words"
WEIGHED = False
# Scripts without spaces (Thai, Lao, Khmer, Japanese, Chinese): a character is a word.
ALONE = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
# Accents, points and vowel signs, which are no letters to `re`: they stay in their word.
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
WORD = re.compile(rf"(?:[^\W{ALONE}]|[{MARKS}])+|[^\s]")
Spans = list[list[Any]]  # [start, end, label], end exclusive


def labels(examples: list[Item]) -> list[str]:
    return sorted({span["label"] for example in examples for span in example["spans"]})


def reference(example: Item) -> Spans:
    return sorted([span["start"], span["end"], span["label"]] for span in example["spans"])


def classes(labels: list[str]) -> list[str]:
    return ["O", *(f"{mark}-{label}" for label in labels for mark in "BI")]


def units(item: Item) -> list[tuple[int, int]]:
    """Words, and each other sign by itself, so that a span hardly ever ends inside a unit."""
    return [match.span() for match in WORD.finditer(item["text"])]


def targets(example: Item, classes: list[str]) -> np.ndarray:
    """Number each word's IOB2 tag."""
    number = {name: place for place, name in enumerate(classes)}
    found = []
    for (start, _), span in zip(units(example), covers(example), strict=True):
        mark = "B" if span and start <= span["start"] else "I"
        name = f"{mark}-{span['label']}" if span else "O"
        if name not in number:
            raise unseen(example, name[2:])
        found.append(number[name])
    return np.array(found, dtype=np.int64)


def covers(example: Item) -> Iterator[dict[str, Any] | None]:
    """For each unit the first span that has any of it, None where there is none."""
    spans, at = sorted(example["spans"], key=lambda span: int(span["start"])), 0
    for start, end in units(example):
        while at < len(spans) and spans[at]["end"] <= start:
            at += 1
        yield spans[at] if at < len(spans) and spans[at]["start"] < end else None


def features(item: Item) -> list[dict[str, float]]:
    """Each word's form, shape and affixes, and those of two neighbours on each side."""
    text, spans = item["text"], units(item)
    words = ["<edge>"] * 2 + [text[start:end] for start, end in spans] + ["<edge>"] * 2
    looks = [_looks(word) for word in words]
    glued = [at > 0 and spans[at - 1][1] == start for at, (start, _) in enumerate(spans)]
    rows = []
    for place in range(len(spans)):
        row = {"bias": 1.0, f"glued={glued[place]}": 1.0}
        for offset in range(-2, 3):
            row |= {f"{offset}:{look}": 1.0 for look in looks[place + 2 + offset]}
        rows.append(row | dict.fromkeys(_affixes(words[place + 2]), 1.0))
    return rows


def _looks(word: str) -> tuple[str, str]:
    shape = "".join(
        "X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word
    )
    return f"word={word.lower()}", "shape=" + re.sub(r"(.)\1+", r"\1+", shape)


def _affixes(word: str) -> list[str]:
    ends = [f"{n}<{word[:n]}" for n in (1, 2, 3)] + [f"{n}>{word[-n:]}" for n in (1, 2, 3)]
    return [f"form={word}", *ends]


def decode(items: list[Item], raws: list[Any], classes: list[str]) -> list[Prediction]:
    """An I- tag that continues nothing begins a span."""
    return [_decode(item, raw, classes) for item, raw in zip(items, raws, strict=True)]


def _decode(item: Item, shares: np.ndarray, classes: list[str]) -> Prediction:
    """shares: (words, classes)."""
    text, sure = item["text"], shares.max(axis=1, initial=0)
    entities: list[dict[str, Any]] = []
    parts: list[list[float]] = []
    before = "O"
    for (start, end), number, share in zip(units(item), shares.argmax(axis=1), sure, strict=True):
        tag = classes[number]
        if tag != "O" and (tag[0] == "B" or before[2:] != tag[2:]):
            entities.append({"start": start, "label": tag[2:]})
            parts.append([])
        if tag != "O":
            entities[-1] |= {"end": end, "text": text[entities[-1]["start"] : end]}
            parts[-1].append(float(share))
        before = tag
    for entity, found in zip(entities, parts, strict=True):
        entity["confidence"] = float(np.mean(found))
    value = [[entity["start"], entity["end"], entity["label"]] for entity in entities]
    return Prediction(value, float(sure.mean()) if len(sure) else 1.0, {"entities": entities})
