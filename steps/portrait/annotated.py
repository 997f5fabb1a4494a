"""Figures of what examples say of their texts, column by column: whatever type of task has it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.portrait.measured import Row, Tally, word_counts


def count(batch: pa.RecordBatch, tally: Tally) -> None:
    """Count what the annotations of a batch say."""
    for column in batch.schema.names:
        if column in COLUMNS:
            COLUMNS[column](batch, tally)


def checks(columns: Sequence[str]) -> list[str]:
    """Names of the sizes that are looked at where there are such columns."""
    return [name for column in columns for name in CHECKS.get(column, ())]


def _label(batch: pa.RecordBatch, tally: Tally) -> None:
    tally.count("labels", batch["label"])
    tally.few.offer(batch, enumerate(batch["label"].to_pylist()))


def _labels(batch: pa.RecordBatch, tally: Tally) -> None:
    labels = batch["labels"]
    numbers = pc.list_value_length(labels).to_numpy(False)
    flat, rows = pc.list_flatten(labels), pc.list_parent_indices(labels).to_pylist()
    tally.count("labels", flat)
    tally.few.offer(batch, zip(rows, flat.to_pylist(), strict=True))
    tally.sizes["given_labels"] += len(flat)
    tally.sizes["without_labels"] += int((numbers == 0).sum())
    tally.sizes["several_labels"] += int((numbers > 1).sum())


def _score(batch: pa.RecordBatch, tally: Tally) -> None:
    tally.scores.append(batch["score"].to_numpy(False))


def _pair(batch: pa.RecordBatch, tally: Tally) -> None:
    tally.measure("pair", word_counts(batch["pair"]))
    same = pc.equal(batch["text"], batch["pair"])
    tally.sizes["pairs_of_one_text"] += pc.sum(same).as_py() or 0


def _spans(batch: pa.RecordBatch, tally: Tally) -> None:
    spans = batch["spans"]
    flat, rows = pc.list_flatten(spans), pc.list_parent_indices(spans).to_pylist()
    labels = pc.struct_field(flat, "label")
    sizes = pc.subtract(pc.struct_field(flat, "end"), pc.struct_field(flat, "start"))
    tally.count("labels", labels)
    tally.few.offer(batch, zip(rows, labels.to_pylist(), strict=True))
    tally.sizes["spans"] += len(flat)
    tally.sizes["without_spans"] += batch.num_rows - len(set(rows))
    tally.sizes["characters_in_spans"] += pc.sum(sizes).as_py() or 0


def _question(batch: pa.RecordBatch, tally: Tally) -> None:
    tally.measure("question", word_counts(batch["question"]))


def _answers(batch: pa.RecordBatch, tally: Tally) -> None:
    answers = batch["answers"]
    numbers = pc.list_value_length(answers).to_numpy(False)
    texts = pc.struct_field(pc.list_flatten(answers), "text")
    tally.measure("answer", word_counts(texts))
    tally.sizes["answers"] += len(texts)
    tally.sizes["unanswerable"] += int((numbers == 0).sum())
    names = ["unanswerable" if number == 0 else "answerable" for number in numbers]
    tally.few.offer(batch, enumerate(names))
    pairs = zip(batch["text"].to_pylist(), answers.to_pylist(), strict=True)
    tally.sizes["misplaced"] += sum(_misplaced(text, found) for text, found in pairs)


def _misplaced(text: str, answers: Sequence[Row]) -> int:
    """Answers that do not stand in the text where they say."""
    return sum(not text.startswith(one["text"], one["start"]) for one in answers)


def _target(batch: pa.RecordBatch, tally: Tally) -> None:
    texts, targets = batch["text"], batch["target"]
    tally.measure("target", word_counts(targets))
    ratios = 100 * word_counts(targets) / np.maximum(word_counts(texts), 1)
    tally.measure("words_of_target_a_hundred_of_text", ratios.round().astype(np.int64))
    tally.sizes["targets_like_text"] += pc.sum(pc.equal(texts, targets)).as_py() or 0


COLUMNS: dict[str, Callable[[Any, Tally], None]] = {
    "label": _label,
    "labels": _labels,
    "score": _score,
    "pair": _pair,
    "spans": _spans,
    "question": _question,
    "answers": _answers,
    "target": _target,
}
CHECKS = {
    "labels": ("given_labels", "without_labels", "several_labels"),
    "pair": ("pairs_of_one_text",),
    "spans": ("spans", "without_spans", "characters_in_spans"),
    "answers": ("answers", "unanswerable", "misplaced"),
    "target": ("targets_like_text",),
}
