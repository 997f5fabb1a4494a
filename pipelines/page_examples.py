"""What the page has of a test set: texts to try, passages to rank, numbers to compare with."""

from pathlib import Path
from typing import Any

from pipelines.answering import Answerer
from steps.core.files import read_rows

SPLITS = Path("data/splits")
MOST_EXAMPLES = 20
MOST_PASSAGES = 100
SHORT = 90  # characters
NUMBER, RETRIEVAL = "regression", "retrieval"
Row = dict[str, Any]


def rows(task: str) -> list[Row]:
    """The test set, or what there is of one: nothing where data was not made here."""
    file = SPLITS / task / "test.parquet"
    return sorted(read_rows(file), key=lambda row: str(row["id"])) if file.is_file() else []


def examples(task: str, fields: tuple[str, ...]) -> list[Row]:
    """Some of the test set, far apart, by the fields that are read."""
    found = rows(task)
    chosen = found[:: max(1, len(found) // MOST_EXAMPLES)][:MOST_EXAMPLES]
    return [{name: str(row[name]) for name in fields} for row in chosen]


def short(item: Row) -> str:
    """An example as one line of a list."""
    line = " · ".join(" ".join(str(text).split()) for text in item.values())
    return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"


def numbers(answerer: Answerer) -> list[float]:
    """The scores of the test set, of a task that has such."""
    return [float(row["score"]) for row in rows(answerer.task)] if answerer.type == NUMBER else []


def answered(answerer: Answerer, item: Row) -> Row:
    """The answer; of retrieval with the test set's passages, `found`, the nearest first."""
    if answerer.type != RETRIEVAL:
        return answerer.answer([item])[0]
    passages = list(dict.fromkeys(str(row["target"]) for row in rows(answerer.task)))
    passages = passages[:MOST_PASSAGES]
    query, *others = answerer.answer([item, *({"text": passage} for passage in passages)])
    return query | {"found": _ranked(query["vector"], passages, [o["vector"] for o in others])}


def _ranked(
    query: list[float], passages: list[str], vectors: list[list[float]]
) -> list[tuple[str, float]]:
    """Pairs of a passage and the cosine of its vector with the query's, the nearest first."""
    import numpy as np

    if not passages:
        return []
    one, many = np.asarray(query), np.asarray(vectors)  # (width,), (passages, width)
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    near = many @ one / np.maximum(lengths, 1e-9)
    return [(passages[n], float(near[n])) for n in np.argsort(-near, kind="stable")]
