"""Stage `decontaminate`: documents minus whatever overlaps a task's validation or test text.

    python -m steps.decontaminate CORPUS DOCUMENTS SPLITS OUT METRICS

A document goes when its group is held out by any task, when it or a paragraph of it is a held-out
text, or when it contains one (`steps.corpora.overlap`). Each goes to removed.parquet with its
reason, and read = kept + removed.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import read_rows, whole, write_json
from steps.core.params import Decontaminate
from steps.core.progress import Bar
from steps.corpora.overlap import HeldOut, Overlaps

Document = dict[str, Any]
BATCH = 10_000  # documents in memory at a time
HELD_OUT = ("test", "validation")


class Decontamination:
    """Says of one document after another why it must go, if it must."""

    def __init__(self, held_out: list[HeldOut], settings: Decontaminate) -> None:
        self._groups = {item.group: item for item in reversed(held_out)}
        self._overlaps = Overlaps(held_out, settings.ngram, settings.containment)

    def judge(self, document: Document) -> Document | None:
        """Return the document with reason, task and split added where it must go, else None."""
        if by_group := self._groups.get(document["group"]):
            found = ("group", by_group)
        elif not (found := self._overlaps.find(document["text"])):
            return None
        reason, item = found
        return {**document, "reason": reason, "task": item.task, "split": item.split}


def decontaminate(
    documents: list[Document], held_out: list[HeldOut], settings: Decontaminate
) -> tuple[list[Document], list[Document]]:
    """Return the documents kept, and those removed with their reasons."""
    return _part(documents, Decontamination(held_out, settings))


def held_out_texts(splits: Path) -> list[HeldOut]:
    """Read the validation and test texts of every task below `splits`, in a fixed order."""
    files = [(file.parent.name, file) for s in HELD_OUT for file in splits.glob(f"*/{s}.parquet")]
    if not files:
        raise StepError(f"no splits in {splits}; run `dvc repro split` to make them")
    return [
        HeldOut(row["text"], row["group"], task, file.stem)
        for task, file in sorted(files)
        for row in read_rows(file)
    ]


def _part(
    documents: list[Document], decontamination: Decontamination
) -> tuple[list[Document], list[Document]]:
    kept: list[Document] = []
    removed: list[Document] = []
    for document in documents:
        judged = decontamination.judge(document)
        if judged is None:
            kept.append(document)
        else:
            removed.append(judged)
    return kept, removed


def _batches(source: Path, what: str) -> Iterator[list[Document]]:
    if not source.exists():
        raise StepError(f"no file {source}; run `dvc repro` (or `dvc pull`) to make it")
    with pq.ParquetFile(source) as file, Bar(what, file.metadata.num_rows) as bar:
        for batch in file.iter_batches(BATCH):
            yield batch.to_pylist()
            bar.advance(batch.num_rows)


def _write(source: Path, out: Path, decontamination: Decontamination) -> Counter[str]:
    """Stream the documents into two files; return how many went where, and why."""
    schema = pq.read_schema(source).remove_metadata()
    grown = pa.schema([*schema, *((name, pa.string()) for name in ("reason", "task", "split"))])
    counts: Counter[str] = Counter()
    with (
        pq.ParquetWriter(out / "documents.parquet", schema, compression="zstd") as kept_file,
        pq.ParquetWriter(out / "removed.parquet", grown, compression="zstd") as removed_file,
    ):
        for documents in _batches(source, "decontaminate"):
            kept, removed = _part(documents, decontamination)
            kept_file.write_table(pa.Table.from_pylist(kept, schema=schema))
            removed_file.write_table(pa.Table.from_pylist(removed, schema=grown))
            counts.update(kept=len(kept), removed=len(removed))
            counts.update(f"reason {row['reason']}" for row in removed)
            counts.update(f"task {row['task']}" for row in removed)
    return counts


def main(corpus: str, documents: Path, splits: Path, out: Path, metrics: Path) -> None:
    """Write what CORPUS keeps, what it loses and why, and the counts of both."""
    settings = params.load()
    params.choose(corpus, settings.corpora, "corpus")
    held_out = held_out_texts(splits)
    decontamination = Decontamination(held_out, settings.decontaminate)
    with whole(out) as folder:
        counts = _write(documents / "documents.parquet", folder, decontamination)
        if not counts["kept"]:
            raise StepError(
                f"corpus {corpus}: all {counts['removed']} documents overlap held-out texts;"
                " give it sources that no task is taken from, or lower the tasks' split sizes"
            )
        ledger = _ledger(counts, len(held_out))
        write_json(folder / "ledger.json", ledger)
    write_json(metrics, ledger)


def _ledger(counts: Counter[str], held_out: int) -> dict[str, Any]:
    by = {
        kind: {key.split(" ", 1)[1]: n for key, n in counts.items() if key.startswith(f"{kind} ")}
        for kind in ("reason", "task")
    }
    return {
        "read": counts["kept"] + counts["removed"],
        "kept": counts["kept"],
        "removed": counts["removed"],
        "reasons": by["reason"],
        "tasks": by["task"],
        "held_out_texts": held_out,
    }


if __name__ == "__main__":
    run(main)
