"""Reader `jsonl`: a line of a .jsonl file, with `text` and, for a task, `label` or `spans`.

Optional: `source` (else the file's name) and `group` (else file and line: each stands alone). Spans
are [start, end, label] or {"start": , "end": , "label": }, in characters, end exclusive.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KIND = {"documents", "classification", "tokens"}
SPAN = ("start", "end", "label")


def read(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of all files in sorted order; a line that is no record has its reason."""
    for file in sorted(root.rglob("*.jsonl")):
        name = file.relative_to(root).as_posix()
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _record(line, name, f"{name}:{number}")


def _record(line: str, name: str, place: str) -> dict[str, Any]:
    bad = {"source": name, "group": place, "text": line.strip()}
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return bad | {"reason": "not_json"}
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        return bad | {"reason": "no_text"}
    record = {"source": str(row.get("source", name)), "group": str(row.get("group", place))}
    record |= {"text": row["text"]}
    if "label" in row:
        record["label"] = (
            row["label"] if isinstance(row["label"], str) else json.dumps(row["label"])
        )
    if "spans" not in row:
        return record
    spans = _spans(row["spans"])
    return record | ({"reason": "bad_spans"} if spans is None else {"spans": spans})


def _spans(raw: Any) -> list[dict[str, Any]] | None:
    """Read both ways of writing spans; None where one is neither."""
    spans = []
    for span in raw if isinstance(raw, list) else [None]:
        values = [span.get(key) for key in SPAN] if isinstance(span, dict) else span
        if not isinstance(values, list) or [type(value) for value in values] != [int, int, str]:
            return None
        spans.append(dict(zip(SPAN, values, strict=True)))
    return spans
