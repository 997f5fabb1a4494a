"""Unlabelled texts: pieces of documents as long as a task's texts, and which labels to trust."""

import hashlib
import heapq
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from steps.core.entry import StepError
from steps.core.files import read_batches, write_rows
from steps.core.temperature import FLOOR, scaled
from steps.tasks import Item
from steps.transfer.edits import collapsed

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])
USUAL = (5, 95)  # percentiles of the training texts' numbers of words
TEMPERATURES = (0.1, 10.0)
PARAGRAPHS = re.compile(r"\n\s*\n")
SENTENCES = re.compile(r"(?<=[.!?])\s+")


def keep_documents(corpora: Path, corpus: str, most: int, out: Path) -> None:
    """Write at most so many documents of a corpus, drawn by the digests of their ids."""
    folder = corpora / corpus / "documents"
    if not folder.exists():
        there = sorted(path.name for path in corpora.glob("*") if path.is_dir())
        raise StepError(f"no corpus {corpus!r} in {corpora}; there is: {', '.join(there)}")
    batches = read_batches(folder, columns=["id", "text"])
    rows = (row for batch in batches for row in batch.to_pylist())
    drawn = heapq.nsmallest(most, rows, key=lambda row: (_digest(row["id"]), row["id"]))
    write_rows(out, sorted(drawn, key=lambda row: str(row["id"])), SCHEMA)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def draw(
    documents: Sequence[dict[str, Any]], labelled: Sequence[Item], most: int, seed: int
) -> list[Item]:
    """At most so many pieces, each once, of the usual length of the labelled texts and none of
    them.
    """
    lengths = [len(example["text"].split()) for example in labelled]
    low, high = (int(n) for n in np.percentile(lengths, USUAL))
    known = {collapsed(example["text"]) for example in labelled}
    found = []
    for document in documents:
        for text in pieces(document["text"], max(1, low), max(1, high)):
            if collapsed(text) not in known:
                known.add(collapsed(text))
                found.append({"id": f"{document['id']}+{len(found)}", "text": text})
    chosen = np.random.default_rng(seed).permutation(len(found))[:most]
    return [found[number] for number in sorted(chosen)]


def pieces(text: str, low: int, high: int) -> Iterator[str]:
    """Paragraphs of so many words; of a longer one, its sentences, joined up to so many."""
    for paragraph in PARAGRAPHS.split(text):
        words: list[str] = []
        short = len(paragraph.split()) <= high
        for sentence in [paragraph] if short else SENTENCES.split(paragraph):
            if words and len(words) + len(sentence.split()) > high:
                if len(words) >= low:
                    yield " ".join(words)
                words = []
            words += sentence.split()
        if low <= len(words) <= high:
            yield " ".join(words)


def temperature(shares: np.ndarray, targets: np.ndarray) -> float:
    """The temperature that makes probabilities of held-out units most likely (Guo et al. 2017,
    arXiv:1706.04599), as if one unit more were of any class: a few that are all right make no
    teacher sure of everything (Platt 1999, 2.2). shares: (units, classes), targets: (units,).
    """
    from scipy.optimize import minimize_scalar

    doubt = 1 / (len(targets) + 2)

    def loss(order: float) -> float:
        logs = np.log(np.maximum(scaled(shares, np.exp(order)), FLOOR))
        right = logs[np.arange(len(targets)), targets]
        return float(-((1 - doubt) * right + doubt * logs.mean(axis=1)).mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def balanced(classes: Sequence[str], sure: np.ndarray, own: Sequence[str]) -> list[int]:
    """The surest of each class, no more than keep its share of all as it is in training; classes:
    of what may be taken, own: of the training examples. Returns places, sorted.
    """
    found = []
    for name in sorted(set(classes)):
        share = list(own).count(name) / len(own)
        places = [place for place, other in enumerate(classes) if other == name]
        places.sort(key=lambda place: -sure[place])
        found += places[: int(share * len(classes))]
    return sorted(found)
