"""The parts of an adaptation's text: folders of Parquet shards, counted, copied, cut to a size."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from steps.core.entry import StepError
from steps.core.files import Shards, count_rows, read_batches, shards, whole
from steps.core.progress import Bar

BATCH = 2_000  # documents looked at together
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Part(NamedTuple):
    """`part`: its folder; `share`: of the tokens seen, 0 where it is only measured."""

    part: str
    share: float
    documents: int
    words: int


def measure(given: Mapping[str, float], folder: Path) -> list[Part]:
    """Count the parts that are there; their shares, of any scale, become shares of 1."""
    there = {name: share for name, share in given.items() if (folder / name).is_dir()}
    total = sum(there.values()) or 1.0
    return [
        Part(name, share / total, count_rows(folder / name), count_words(folder / name))
        for name, share in there.items()
    ]


def count_words(source: Path) -> int:
    """Count the words of documents, which white space parts."""
    words = 0
    with Bar("counting words", count_rows(source)) as bar:
        for texts in read_texts(source):
            words += sum(len(text.split()) for text in texts)
            bar.advance(len(texts))
    return words


def read_texts(source: Path) -> Iterator[list[str]]:
    """Stream the texts of documents in batches."""
    for batch in read_batches(source, BATCH, ["text"]):
        yield batch["text"].to_pylist()


def copy(source: Path, out: Path) -> None:
    """Copy the shards byte for byte, so that DVC's cache has them once."""
    out.mkdir(parents=True)
    for shard in shards(source):
        shutil.copyfile(shard, out / shard.name)


def select(source: Path, keep: Mask, out: Path) -> None:
    """Write the documents for which `keep` is true, in their order."""
    schema = pq.read_schema(shards(source)[0]).remove_metadata()
    at = 0
    with Shards(out, schema) as kept:
        for batch in read_batches(source, BATCH):
            here = pa.array(keep[at : at + batch.num_rows])
            kept.write(batch.replace_schema_metadata().filter(here))
            at += batch.num_rows


def fit(parts: list[Part], words: int, folder: Path, seed: int) -> list[Part]:
    """Cut the parts where they have more `words` together, each by its share of these."""
    if sum(part.words for part in parts) <= words:
        return parts
    rooms = _rooms(parts, words)
    return [
        _cut(part, room, folder, seed) if part.words > room else part
        for part, room in zip(parts, rooms, strict=True)
    ]


def _rooms(parts: list[Part], words: int) -> list[int]:
    """Give each part its share of the words; what a small one leaves is the others'."""
    rooms = {part.part: part.words for part in parts}
    tight = list(parts)
    while tight:
        scale = words / sum(part.share for part in tight)
        small = [part for part in tight if part.words <= part.share * scale]
        if not small:
            rooms |= {part.part: int(part.share * scale) for part in tight}
            break
        words -= sum(part.words for part in small)
        tight = [part for part in tight if part not in small]
    return [rooms[part.part] for part in parts]


def _cut(part: Part, words: int, folder: Path, seed: int) -> Part:
    """Draw documents of at most so many words together, and let the rest go."""
    source = folder / part.part
    keep = _draw(source, words, seed)
    if not keep.any():
        raise StepError(
            f"{part.part}: none of its {part.documents} documents is as short as the {words} words"
            " that it may have beside its original's text; cut its documents finer, or take it out"
        )
    with whole(source) as made:
        select(source, keep, made)
    return part._replace(documents=int(keep.sum()), words=count_words(source))


def _draw(source: Path, words: int, seed: int) -> Mask:
    """Take the documents in an order that depends on the seed and their ids, while they fit."""
    ranks, sizes = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for batch in read_batches(source, BATCH, ["id", "text"]):
        names, texts = (batch[name].to_pylist() for name in ("id", "text"))
        ranks.append(np.array([_rank(seed, name) for name in names], np.uint64))
        sizes.append(np.array([len(text.split()) for text in texts], np.int64))
    order, lengths = np.argsort(np.concatenate(ranks), kind="stable"), np.concatenate(sizes)
    keep = np.zeros(len(order), bool)
    for place in order:
        keep[place] = lengths[place] <= words
        words -= int(lengths[place]) * bool(keep[place])
    return keep


def _rank(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8])
