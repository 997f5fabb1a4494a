"""The ledger of an ingestion: each record is kept, rejected or a duplicate, by source."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

Rows = Iterable[dict[str, Any]]


def ledger(
    read: Counter[str],
    kept: Rows,
    rejected: list[dict[str, Any]],
    duplicates: Rows,
    masked: Counter[str],
) -> dict[str, Any]:
    """Count the records; `read` was counted apart, by source, as they came."""
    ends = {"kept": kept, "rejected": rejected, "duplicates": duplicates}
    counts = {name: Counter(row["source"] for row in rows) for name, rows in ends.items()}
    sources = {
        source: {"read": read[source], **{name: counts[name][source] for name in ends}}
        for source in sorted(read)
    }
    return {
        "read": read.total(),
        **{name: counts[name].total() for name in ends},
        "reasons": dict(Counter(row["reason"] for row in rejected)),
        "masked": dict(masked),
        "sources": sources,
    }
