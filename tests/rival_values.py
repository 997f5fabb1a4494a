"""Made-up references and predictions of the task types that Rivals has no own way for; seeded."""

from typing import Any

import numpy as np
import pyarrow as pa

from steps.judge.values import REFERENCES

NAMES = ["bad", "good", "so so"]
SPANS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())]))
ANSWERS = pa.list_(pa.struct([("start", pa.int64()), ("text", pa.string())]))
COLUMNS = {  # task type -> the columns of its own
    "classification": {"label": pa.string()},
    "sentiment": {"label": pa.string()},
    "pairs": {"pair": pa.string(), "label": pa.string()},
    "multilabel": {"labels": pa.list_(pa.string())},
    "regression": {"score": pa.float64()},
    "tokens": {"spans": SPANS},
    "tags": {"spans": SPANS},
    "question_answering": {"question": pa.string(), "answers": ANSWERS},
    "translation": {"target": pa.string()},
    "summarisation": {"target": pa.string()},
    "generation": {"target": pa.string()},
    "retrieval": {"target": pa.string()},
}
Draw = np.random.Generator


def columns(kind: str, draw: Draw, words: list[str]) -> dict[str, Any]:
    """What an example of these words has beside them."""
    if kind == "multilabel":
        return {"labels": sorted(draw.choice(NAMES, size=int(draw.integers(0, 3)), replace=False))}
    if kind == "regression":
        return {"score": float(draw.normal(len(words) / 10, 1))}
    if kind == "tags":
        starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
        bounds = [(at, at + len(word)) for at, word in zip(starts, words, strict=False)]
        return {"spans": [_span(*one, str(draw.choice(NAMES))) for one in bounds]}
    if kind == "question_answering":
        at = int(draw.integers(0, len(words)))
        start = len(" ".join([*words[:at], ""]))
        answers = [] if draw.random() < 0.3 else [{"start": start, "text": words[at]}]
        return {"question": f"What is <it> at {at}?", "answers": answers}
    if kind in ("sentiment", "pairs"):
        pair = {"pair": " ".join(reversed(words))} if kind == "pairs" else {}
        return pair | {"label": str(draw.choice(NAMES))}
    return {"target": " ".join(reversed(words))}


def said(kind: str, draw: Draw, row: dict[str, Any], right: bool) -> Any:
    """A prediction as JSON has it: right, or a poor one."""
    truth = REFERENCES[kind](row)
    if kind == "generation":
        words = len(truth.split())
        loss = words * float(draw.uniform(2, 3 if right else 6))
        return {"text": truth if right else "the path of", "loss": loss, "words": words}
    if not right:
        return _poor(kind, draw, row, truth)
    if kind == "question_answering":
        return truth[0] if truth else ""
    return 1 if kind == "retrieval" else truth


def _poor(kind: str, draw: Draw, row: dict[str, Any], truth: Any) -> Any:
    words = row["text"].split()
    if kind == "regression":
        return truth + float(draw.normal(0, 2))
    if kind == "retrieval":
        return int(draw.integers(2, 30))
    if kind == "question_answering":
        return str(draw.choice(["", "another", *words[:3]]))
    if kind in ("translation", "summarisation"):
        return " ".join(truth.split()[::2])
    return list(columns(kind, draw, words).values())[-1]


def _span(start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label}
