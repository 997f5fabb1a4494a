"""Stage `ingest`: raw files -> documents of a corpus, or examples of a task; each is accounted for.

python -m steps.ingest corpus|task NAME RAW OUT METRICS
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from steps import readers
from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import whole, write_json, write_rows
from steps.core.params import Corpus, Task
from steps.corpora import dedup, pii
from steps.corpora.ledger import ledger
from steps.corpora.normalise import normalise, normalise_spans
from steps.corpora.schemas import DUPLICATES, REJECTED, SCHEMAS

Record = dict[str, Any]


class Rules(NamedTuple):
    """What a record must be like; `near_duplicates`: two so similar are one, 1 turns it off."""

    kind: str
    min_words: int
    max_words: int
    min_letters: float
    near_duplicates: float
    mask_pii: bool


class Ingested(NamedTuple):
    """The three ends of a record, each sorted by id, and their count."""

    kept: list[Record]
    rejected: list[Record]
    duplicates: list[Record]
    ledger: dict[str, Any]


def ingest(records: Iterable[Record], rules: Rules) -> Ingested:
    """Clean, filter, deduplicate; of copies the first by (source, group, position) is kept."""
    ordered = sorted(records, key=lambda record: (record["source"], record["group"]))
    read = Counter(record["source"] for record in ordered)
    cleaned = [_clean(record, rules) for record in ordered]
    _name(cleaned)
    for record in cleaned:
        record["reason"] = record.get("reason") or reason_against(record, rules)
    rejected = [record for record in cleaned if record["reason"]]
    unique, duplicates = _deduplicate([r for r in cleaned if not r["reason"]], rules)
    masked: Counter[str] = sum((record["masked"] for record in unique), Counter())
    ends = [sorted(rows, key=lambda row: row["id"]) for rows in (unique, rejected, duplicates)]
    return Ingested(*ends, ledger(read, *ends, masked))


def _clean(record: Record, rules: Rules) -> Record:
    """Normalise one record's text and spans, and mask personal data; a copy."""
    record = {"masked": Counter(), **record}
    if rules.kind == "tokens" and not record.get("reason"):
        record["reason"] = _against_spans(record["text"], record.get("spans"))
    if rules.kind == "tokens" and not record["reason"]:
        record["text"], record["spans"] = normalise_spans(record["text"], record["spans"])
        return record
    record["text"] = normalise(record["text"])
    if rules.kind == "documents" and rules.mask_pii:
        record["text"], record["masked"] = pii.mask(record["text"])
    elif rules.kind == "classification":
        record["label"] = str(record.get("label") or "").strip()
    return record


def _against_spans(text: str, spans: list[Record] | None) -> str:
    """Spans must lie inside the text, in order and apart."""
    end = 0
    for span in sorted(spans or [], key=lambda span: span["start"]):
        if not end <= span["start"] < span["end"] <= len(text):
            return "bad_spans"
        end = span["end"]
    return "" if spans is not None else "no_spans"


def reason_against(record: Record, rules: Rules) -> str:
    """Say why a record is not wanted, or nothing."""
    text = record["text"]
    words = len(text.split())
    if words < rules.min_words or not words:
        return "too_short"
    if words > rules.max_words:
        return "too_long"
    visible = "".join(text.split())
    if sum(map(str.isalpha, visible)) < rules.min_letters * len(visible):
        return "few_letters"
    if rules.kind == "classification" and not record["label"]:
        return "no_label"
    return ""


def _name(records: list[Record]) -> None:
    """Give each record an id: a digest of what it is, and of how many like it came before."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        key = (record["source"], record["group"], record["text"])
        named = json.dumps([*key, seen[key]], ensure_ascii=False)
        record["id"] = hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()[:16]
        seen[key] += 1


def _deduplicate(records: list[Record], rules: Rules) -> tuple[list[Record], list[Record]]:
    """Take out copies: same text and annotation, then texts that are nearly the same."""
    keys = [json.dumps([r["text"], r.get("label"), r.get("spans")]) for r in records]
    rest, same = _take_out(records, dedup.exact(keys), "exact")
    if rules.near_duplicates == 1:
        return rest, same
    texts = [record["text"] for record in rest]
    rest, alike = _take_out(rest, dedup.near(texts, rules.near_duplicates), "near")
    return rest, same + alike


def _take_out(
    records: list[Record], copies: dict[int, int], kind: str
) -> tuple[list[Record], list[Record]]:
    taken = [
        records[at] | {"kept": records[first]["id"], "kind": kind} for at, first in copies.items()
    ]
    return [record for at, record in enumerate(records) if at not in copies], taken


def rules_of(entry: Corpus | Task) -> Rules:
    """Read the rules off a section: examples of a task are neither masked nor matched nearly."""
    if isinstance(entry, Corpus):
        letters, near, masked = entry.min_letters, entry.near_duplicates, entry.mask_pii
        return Rules("documents", entry.min_words, entry.max_words, letters, near, masked)
    params.choose(entry.type, SCHEMAS, "kind of records for the task type")
    return Rules(entry.type, entry.min_words, entry.max_words, 0, 1, False)


def read(name: str, kind: str, raw: Path) -> list[Record]:
    """Read all records under `raw`; StepError where the reader is not one for them."""
    reader = readers.load(name)
    if kind not in reader.KIND:
        raise StepError(f"reader {name!r} gives {'/'.join(sorted(reader.KIND))}, not {kind};"
                        " choose another reader in params.yaml")  # fmt: skip
    if not raw.exists():
        raise StepError(f"no folder {raw}; run `dvc repro` to fetch it")
    records = list(reader.read(raw))
    if not records:
        files = Counter(path.suffix or path.name for path in raw.rglob("*") if path.is_file())
        held = ", ".join(f"{count} {end}" for end, count in files.most_common(4)) or "no files"
        raise StepError(f"reader {name!r} found nothing to read in {raw} ({held}); choose another"
                        " reader, or mend the source's `include`")  # fmt: skip
    return records


def save(found: Ingested, kind: str, out: Path) -> None:
    """Write the Parquet files and the ledger, whole or not at all."""
    name = "documents" if kind == "documents" else "examples"
    with whole(out) as folder:
        write_rows(folder / f"{name}.parquet", found.kept, SCHEMAS[kind])
        write_rows(folder / "rejected.parquet", found.rejected, REJECTED)
        write_rows(folder / "duplicates.parquet", found.duplicates, DUPLICATES)
        write_json(folder / "ledger.json", found.ledger)


def main(what: str, name: str, raw: Path, out: Path, metrics: Path) -> None:
    """Ingest the corpus or task NAME from the folder RAW into OUT; METRICS gets the ledger."""
    sections: dict[str, Any] = {"corpus": params.load().corpora, "task": params.load().tasks}
    entry = params.choose(name, params.choose(what, sections, "kind of data"), what)
    rules = rules_of(entry)
    found = ingest(read(entry.reader, rules.kind, raw), rules)
    if not found.kept:
        raise StepError(f"nothing of {raw} is kept: {found.ledger['reasons']}; widen the limits of"
                        f" {what} {name}")  # fmt: skip
    save(found, rules.kind, out)
    write_json(metrics, found.ledger)


if __name__ == "__main__":
    run(main)
