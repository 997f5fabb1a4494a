"""Stage `decontaminate`: documents minus whatever overlaps a task's validation or test text.

    python -m steps.decontaminate CORPUS DOCUMENTS SPLITS OUT METRICS

A document goes when its group is held out by any task, when it or a paragraph of it is a held-out
text or near to one, or when it contains one (`steps.corpora.matching`). Each goes to removed/ with
its reason, and read = kept + removed.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import Shards, count_rows, read_batches, shards, whole, write_json
from steps.core.params import Decontaminate
from steps.core.progress import Bar
from steps.corpora.matching import HeldOut, Overlaps, Rules, held_out_texts

Document = dict[str, Any]
BATCH = 2_000  # documents looked at together
GROWN = [pa.field(name, pa.string()) for name in ("reason", "task", "split")]


class Decontamination:
    """Says of documents which must go, and why."""

    def __init__(self, held_out: list[HeldOut], settings: Decontaminate) -> None:
        self._groups = {item.group: item for item in reversed(held_out)}
        self._overlaps = Overlaps(held_out, Rules(**settings.model_dump()))

    def judge(self, groups: list[str], texts: list[str]) -> list[tuple[str, HeldOut] | None]:
        """Give for each document the reason and the held-out text for which it goes, or None."""
        by_group = [self._groups.get(group) for group in groups]
        found = self._overlaps.find(texts)
        return [("group", item) if item else hit for item, hit in zip(by_group, found, strict=True)]


def decontaminate(
    documents: pa.RecordBatch, decontamination: Decontamination
) -> tuple[pa.RecordBatch, list[Document]]:
    """Return the documents kept, and those removed with reason, task and split."""
    groups, texts = (documents[name].to_pylist() for name in ("group", "text"))
    judged = decontamination.judge(groups, texts)
    gone = documents.filter(pa.array([hit is not None for hit in judged])).to_pylist()
    hits = (hit for hit in judged if hit)
    removed = [
        row | {"reason": reason, "task": item.task, "split": item.split}
        for row, (reason, item) in zip(gone, hits, strict=True)
    ]
    return documents.filter(pa.array([hit is None for hit in judged])), removed


def _batches(source: Path, what: str) -> Iterator[pa.RecordBatch]:
    with Bar(what, count_rows(source)) as bar:
        for batch in read_batches(source, BATCH):
            yield batch
            bar.advance(batch.num_rows)


def _write(source: Path, out: Path, decontamination: Decontamination) -> Counter[str]:
    """Stream the documents into two folders; return how many went where, and why."""
    schema = pq.read_schema(shards(source)[0]).remove_metadata()
    grown = pa.schema([*schema, *GROWN])
    counts: Counter[str] = Counter()
    with Shards(out / "documents", schema) as rest, Shards(out / "removed", grown) as gone:
        for documents in _batches(source, "decontaminate"):
            kept, removed = decontaminate(documents.replace_schema_metadata(), decontamination)
            rest.write(kept)
            gone.write_rows(removed)
            counts.update(kept=kept.num_rows, removed=len(removed))
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
        counts = _write(documents / "documents", folder, decontamination)
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
