"""Figures of what `ingest` made, over all its rows and in bounded memory, for a suite to judge."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.core.entry import StepError
from steps.core.files import read_batches, read_json, shards
from steps.corpora import vocabulary
from steps.corpora.overlap import normalised

CLIP = 80  # characters shown of a text
SHOWN = 3  # rows, words and counts shown
LABELLED = ("label", "labels", "spans")
OTHERS = ("score", "answers", "target")  # what is said of an example where it is no label
Row = dict[str, str]


@dataclass(frozen=True)
class Measured:
    """A figure (None: nothing to compare with), how it came about, and the rows that make it
    high, or low: looked for only where it is out of bounds on that side."""

    figure: float | None
    detail: str
    high: Callable[[], Iterator[Row]] = lambda: iter(())
    low: Callable[[], Iterator[Row]] = lambda: iter(())


@dataclass(frozen=True)
class Summary:
    """What a corpus is compared by: its frequent words, its lengths in characters (bins double)."""

    documents: int
    vocabulary: dict[str, int]
    lengths: dict[str, int]
    languages: dict[str, int]


class Dataset:
    """The folder of a corpus or task; `masks`: whether PII was looked for."""

    def __init__(self, folder: Path, part: str, name: str, masks: bool = False) -> None:
        self.folder, self.part, self.name, self.masks = folder, part, name, masks
        self.kept = folder / part
        if not shards(self.kept):
            raise StepError(f"no Parquet file in {self.kept}; make it again by `dvc repro`")
        self.schema = pq.read_schema(shards(self.kept)[0])

    @cached_property
    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / "ledger.json")
        return found

    @cached_property
    def summary(self) -> Summary:
        """Read the texts once."""
        lengths: Counter[str] = Counter()
        languages: Counter[str] = Counter()
        columns = [name for name in ("text", "language") if name in self.schema.names]

        def texts() -> Iterator[str]:
            for batch in read_batches(self.kept, columns=columns):
                languages.update(_languages(batch))
                for text in batch["text"].to_pylist():
                    lengths[str(1 << max(len(text).bit_length() - 1, 0))] += 1
                    yield text

        words = vocabulary.count(texts())
        return Summary(lengths.total(), words, dict(lengths), dict(languages))

    def lost(self, part: str, column: str, value: str | None) -> Iterator[Row]:
        """Name rejected records or duplicates of a reason or kind (None: any), and say why.

        Not by their text: what was left out was perhaps never masked, and this gets about.
        """
        for record in records(self.folder / part):
            if value in (None, record[column]):
                of = f" copy of {record['kept']}" if "kept" in record else ""
                yield named({**record, "text": f"{record[column]}{of}"})


def records(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Stream records as dicts."""
    for batch in read_batches(path, 1000, columns):
        yield from batch.to_pylist()


def named(record: dict[str, Any], says: str = "") -> Row:
    """Name a record so that a person finds it."""
    place = record.get("place") or record["source"]
    text = f"{says}: {record['text']}" if says else record["text"]
    return {"id": record["id"], "place": place, "text": " ".join(text.split())[:CLIP]}


def language_share(data: Dataset, language: str) -> Measured:
    """Share of the documents that are in a language, as `ingest` identified it."""
    found: Counter[str] = Counter()
    if "language" in data.schema.names:
        for batch in read_batches(data.kept, columns=["language"]):
            found.update(_languages(batch))
    if not found:
        raise StepError(
            "no languages: none was identified; a corpus has them where its `languages` are not [],"
            " an example where its source says one"
        )

    def others() -> Iterator[Row]:
        every = records(data.kept)
        return (named(one, one["language"]) for one in every if one["language"] != language)

    return Measured(_share(found[language], found.total()), listed(found), low=others)


def duplicate_share(data: Dataset, kind: str | None) -> Measured:
    """Share of the records read that were left out as copies."""
    ledger, number = data.ledger, data.ledger["duplicates"]
    if kind:
        batches = read_batches(data.folder / "duplicates", columns=["kind"])
        number = sum(batch["kind"].to_pylist().count(kind) for batch in batches)
    detail = f"{number} of {ledger['read']} records read"
    return Measured(
        _share(number, ledger["read"]), detail, lambda: data.lost("duplicates", "kind", kind)
    )


def rejected_share(data: Dataset, reason: str | None) -> Measured:
    """Share of the records read that were rejected."""
    ledger, reasons = data.ledger, data.ledger["reasons"]
    number = reasons.get(reason, 0) if reason else ledger["rejected"]
    return Measured(
        _share(number, ledger["read"]),
        f"{number} of {ledger['read']} records read{_told(reasons)}",
        lambda: data.lost("rejected", "reason", reason),
    )


def pii_share(data: Dataset, kind: str | None) -> Measured:
    """Share of the kept records in which something was masked; of a type: masks a kept record."""
    if not data.masks:
        raise StepError("no PII counts: none is looked for here; a corpus has `mask_pii: true`")
    ledger, masked = data.ledger, data.ledger["masked"]
    number = masked.get(kind, 0) if kind else ledger["masked_records"]
    places = [f"<{name}>" for name in ([kind] if kind else sorted(masked))]

    def holders() -> Iterator[Row]:
        every = records(data.kept)
        return (named(one) for one in every if any(place in one["text"] for place in places))

    counted = f"{number} {'masks' if kind else 'records with masks'}"
    detail = f"{counted}, {ledger['kept']} records kept{_told(masked)}"
    return Measured(_share(number, ledger["kept"]), detail, holders)


def label_entropy(data: Dataset) -> Measured:
    """Shannon entropy of the labels as a share of what equal labels would have, 0 to 1."""
    column = next((name for name in LABELLED if name in data.schema.names), None)
    found: Counter[str] = Counter()
    for batch in read_batches(data.kept, columns=[column]) if column else ():
        values = batch[column]
        if column != "label":
            values = pc.list_flatten(values)
        if column == "spans":
            values = pc.struct_field(values, "label")
        found.update(values.to_pylist())
    if not found:
        there = " and ".join(name for name in OTHERS if name in data.schema.names)
        instead = f", but {there}; take the check out of the suite" if there else ""
        raise StepError(f"no labels: these {data.part} have none{instead}")
    shares = [count / found.total() for _, count in sorted(found.items())]
    bits = -sum(share * math.log2(share) for share in shares)
    rarest = min(found, key=lambda label: (found[label], label))

    def few() -> Iterator[Row]:
        every = ((one, _labels(one)) for one in records(data.kept))
        return (named(one, rarest) for one, labels in every if rarest in labels)

    figure = bits / math.log2(len(found)) if len(found) > 1 else 0.0
    return Measured(figure, f"{bits:.2f} bits: {listed(found)}", low=few)


def label_noise(data: Dataset) -> Measured:
    """Share of the examples whose normalised text stands there with another annotation too.

    A proxy: of the annotators' disagreement it sees only what happens to be annotated twice. It is
    no estimate of how many labels are wrong: a text that stands there once counts as clean, all
    sides of a contradiction count as noise, and so does a label that hangs on more than the text.
    """
    import numpy as np

    claims = (claim(one) for one in records(data.kept))
    flat = chain.from_iterable((_number(text), _number(said)) for text, said in claims)
    pairs = np.fromiter(flat, np.uint64).reshape(-1, 2)  # (examples, 2): 16 bytes an example
    _, texts = np.unique(pairs[:, 0], return_inverse=True)
    ends = np.full((2, len(pairs)), np.iinfo(np.uint64).max, np.uint64)
    ends[1] = 0
    np.minimum.at(ends[0], texts, pairs[:, 1])
    np.maximum.at(ends[1], texts, pairs[:, 1])
    noisy = np.flatnonzero((ends[0] != ends[1])[texts])

    def contradictions() -> Iterator[Row]:
        """The first noisy text, once with each of its annotations; then the next."""
        _, starts, group = np.unique(texts[noisy], return_index=True, return_inverse=True)
        shown: dict[tuple[int, int], int] = {}
        for n in noisy[np.argsort(starts[group], kind="stable")].tolist():
            shown.setdefault((int(texts[n]), int(pairs[n, 1])), n)
            if len(shown) == SHOWN:
                break
        every = enumerate(islice(records(data.kept), max(shown.values()) + 1))
        found = {n: one for n, one in every if n in shown.values()}
        return (named(found[n], claim(found[n])[1]) for n in shown.values())

    detail = f"{len(noisy)} of {len(pairs)} examples"
    return Measured(_share(len(noisy), len(pairs)), detail, high=contradictions)


def claim(example: dict[str, Any]) -> tuple[str, str]:
    """Return what is annotated, and as what, in forms that can be compared; StepError if nothing.

    Spans by their words, not their offsets: white space must not make a contradiction.
    """
    asked = (normalised(example[name]) for name in ("pair", "question") if name in example)
    text = "\0".join([normalised(example["text"]), example.get("language", ""), *asked])
    if "label" in example:
        return text, example["label"]
    if "labels" in example:
        return text, ", ".join(example["labels"]) or "none"
    if "score" in example:
        return text, f"{example['score']:g}"
    if "spans" in example:
        spans = sorted(example["spans"], key=lambda span: (span["start"], span["end"]))
        marked = ((example["text"][s["start"] : s["end"]], s["label"]) for s in spans)
        return text, ", ".join(f"{normalised(words)} = {label}" for words, label in marked)
    if "answers" in example:
        answers = sorted({normalised(answer["text"]) for answer in example["answers"]})
        return text, " | ".join(answers)
    if "target" in example:
        return text, normalised(example["target"])
    raise StepError("no labels: documents have none")


def listed(counts: dict[str, int]) -> str:
    """Write the largest counts."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = [f"{len(ranked) - SHOWN} more"] if len(ranked) > SHOWN else []
    return ", ".join([*(f"{name or 'none'} {n}" for name, n in ranked[:SHOWN]), *more])


def _told(counts: dict[str, int]) -> str:
    return f": {listed(counts)}" if counts else ""


def _share(part: float, total: int) -> float:
    if not total:
        raise StepError("no records to take a share of")
    return part / total


def _labels(example: dict[str, Any]) -> set[str]:
    if "label" in example:
        return {example["label"]}
    return {*example.get("labels", []), *(span["label"] for span in example.get("spans", []))}


def _languages(batch: pa.RecordBatch) -> Counter[str]:
    names = batch["language"].to_pylist() if "language" in batch.schema.names else []
    return Counter(name for name in names if name)


def _number(text: str) -> int:
    """A hash that is the same in every process, unlike hash()."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
