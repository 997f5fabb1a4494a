"""Stage `pack`: the text of an adaptation -> token blocks, boundaries kept, no token lost.

    python -m steps.pack ADAPTATION TEXTS START OUT

Documents are streamed: memory does not grow with the text but for some bytes a piece. OUT also
holds the tokenizer, grown by the field's words where `new_tokens` asks for it: START is read no
further than its tokenizer.json and config.json.
"""

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from steps.core.entry import StepError, run
from steps.core.files import count_rows, read_batches, read_json, whole, write_json
from steps.core.params import Pack, choose, load
from steps.core.progress import Bar
from steps.transfer import vocabulary
from steps.transfer.packing import Blocks, best_fit, cuts, frame, read_tokenizer

BATCH = 512  # documents tokenised at once
SPLITS = ("train", "held_out")
OFFSET = ("roberta", "xlm-roberta", "camembert")  # their positions begin after the padding's
WORD = 1.5  # tokens in a word, about


@dataclass(frozen=True)
class Manner:
    """How a base wants its texts: tokens before and after each piece, at a document's end only,
    and for padding; the most tokens it reads at once.
    """

    tokenizer: Tokenizer
    before: list[int]
    after: list[int]
    end: list[int]
    padding: int

    @classmethod
    def read(cls, start: Path, tokenizer: Tokenizer, block: int) -> "Manner":
        config = read_json(start / "config.json")
        limit = positions(config) or block
        if block > limit:
            raise StepError(
                f"pack.block_tokens is {block}, but {start} reads at most {limit} tokens; lower it"
            )
        before, after = frame(tokenizer)
        end = config.get("eos_token_id") if not before + after else None
        padding = config.get("pad_token_id")
        return cls(tokenizer, before, after, [] if end is None else [int(end)], padding or 0)


def positions(config: dict[str, Any]) -> int | None:
    """The most tokens that a model reads at once; None where positions are relative."""
    if "relative_attention_num_buckets" in config:  # T5
        return None
    most = config.get("max_position_embeddings") or config.get("n_positions")
    counts_from = config.get("pad_token_id", 1) + 1 if config.get("model_type") in OFFSET else 0
    return int(most) - counts_from if most else None


class Flat:
    """The pieces of one part and split: tokens in files, offsets in memory."""

    def __init__(self, path: Path) -> None:
        self.paths = [path.with_suffix(suffix) for suffix in (".tokens", ".starts")]
        self._files = [file.open("wb") for file in self.paths]
        self._ends: list[int] = [0]
        self.documents = self.tokens_in = self.frames = 0

    def add(self, ids: np.ndarray, starts: np.ndarray, manner: Manner, room: int) -> None:
        """Append a document, cut into pieces, each in its frame."""
        self.documents += 1
        self.tokens_in += len(ids)
        ids = np.concatenate([ids, np.array(manner.end, dtype=np.uint32)])
        starts = np.concatenate([starts, np.ones(len(manner.end), dtype=np.bool_)])
        self.frames += len(manner.end)
        places = cuts(len(ids), room)
        for first, last in itertools.pairwise(places):
            framed = [*manner.before, *ids[first:last].tolist(), *manner.after]
            word = np.ones(len(framed), dtype=np.bool_)
            inner = len(manner.before)
            word[inner + 1 : inner + last - first] = starts[first + 1 : last]
            self._files[0].write(np.array(framed, dtype=np.uint32).tobytes())
            self._files[1].write(word.tobytes())
            self._ends.append(self._ends[-1] + len(framed))
            self.frames += len(framed) - (last - first)

    def __enter__(self) -> "Flat":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
        self.ends = np.array(self._ends, dtype=np.int64)
        kinds = (np.uint32, np.bool_)
        self.arrays = [
            np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, kind)
            for path, kind in zip(self.paths, kinds, strict=True)
        ]

    def piece(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        inside = slice(self.ends[number], self.ends[number + 1])
        return self.arrays[0][inside], self.arrays[1][inside]

    def counts(self) -> dict[str, int]:
        pieces = len(self.ends) - 1
        return {"documents": self.documents, "tokens_in": self.tokens_in, "pieces": pieces}

    def remove(self) -> None:
        del self.arrays
        for path in self.paths:
            path.unlink()


@dataclass(frozen=True)
class Packer:
    """Turns the text of an adaptation into blocks, in the folder `out`."""

    manner: Manner
    params: Pack
    out: Path

    def pack(self, texts: Path) -> dict[str, Any]:
        """Write training and held-out blocks of every part; return the ledger."""
        parts = read_json(texts / "text.json")["parts"]
        flats = {part["part"]: self._tokenise(texts / part["part"], part) for part in parts}
        ledger = {part["part"]: {"share": part["share"]} for part in parts}
        for split in SPLITS:
            counts = self._lay(split, {name: flat[split] for name, flat in flats.items()})
            for name, count in counts.items():
                ledger[name][split] = count
        check(ledger)
        return ledger

    def _tokenise(self, folder: Path, part: dict[str, Any]) -> dict[str, Flat]:
        """Stream documents into pieces; of a part that is only measured the held-out ones alone."""
        name = part["part"].replace("/", "-")
        room = self.params.block_tokens - len(self.manner.before) - len(self.manner.after)
        with ExitStack() as files:
            flats = {s: files.enter_context(Flat(self.out / f"{name}-{s}")) for s in SPLITS}
            for split, texts in split_texts(folder, self.params, part["share"] > 0):
                found = self.manner.tokenizer.encode_batch(texts, add_special_tokens=False)
                for encoding in found:
                    tokens = np.array(encoding.ids, dtype=np.uint32)
                    flats[split].add(tokens, word_starts(encoding.word_ids), self.manner, room)
        return flats

    def _lay(self, split: str, flats: dict[str, Flat]) -> dict[str, dict[str, Any]]:
        """Put the pieces of all parts into one file of blocks, part after part, and count."""
        block = self.params.block_tokens
        groups = {name: best_fit(np.diff(f.ends).tolist(), block) for name, f in flats.items()}
        total = sum(map(len, groups.values()))
        blocks = Blocks.create(total, block, self.manner.padding, self.out / split)
        counts, first = {}, 0
        for name, flat in flats.items():
            last = first + len(groups[name])
            inside = Blocks(*(array[first:last] for array in vars(blocks).values()))
            inside.fill(groups[name], flat.piece)
            counts[name] = flat.counts() | {
                "tokens": inside.size,
                "tokens_out": inside.size - flat.frames,
                "first": first,
                "blocks": last - first,
                "fill": round(inside.size / inside.tokens.size, 4) if last - first else 0.0,
            }
            first = last
            flat.remove()
        return counts


def word_starts(words: list[int | None]) -> np.ndarray:
    """Say where a word begins, by the number of the word that each token is of."""
    numbers = np.array([-1 if word is None else word for word in words], dtype=np.int64)
    return np.diff(numbers, prepend=-2) != 0


def split_texts(folder: Path, params: Pack, read: bool) -> Iterator[tuple[str, list[str]]]:
    """Stream (split, texts) of a part; training texts only where it is `read`.

    A document is held out by a seeded hash of its id, so that it is in whatever adaptation reads
    the corpus. A text of one document is both trained on and measured.
    """
    count = count_rows(folder)
    last = _last_rank(folder, params)
    with Bar(f"packing {folder.parent.name}/{folder.name}", count) as bar:
        for batch in read_batches(folder, BATCH, ["id", "text"]):
            texts = batch["text"].to_pylist()
            held = _ranks(batch["id"].to_pylist(), params.seed) <= last
            if held.any():
                yield "held_out", [texts[n] for n in np.flatnonzero(held)]
            if read and (count == 1 or not held.all()):
                yield "train", [texts[n] for n in np.flatnonzero(~held | (count == 1))]
            bar.advance(len(texts))


def _last_rank(folder: Path, params: Pack) -> np.uint64:
    """The rank up to which documents are held out: by share of the documents, or tokens."""
    ranks, words = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for batch in read_batches(folder, BATCH * 16, ["id", "text"]):
        ranks.append(_ranks(batch["id"].to_pylist(), params.seed))
        words.append(np.array([len(text.split()) for text in batch["text"].to_pylist()]))
    found, sizes = np.concatenate(ranks), np.concatenate(words)
    if not len(found):
        raise StepError(f"no document is left in {folder}; give its corpus or task more text")
    first = np.argsort(found, kind="stable")[: max(1, round(params.held_out * len(found)))]
    enough = np.cumsum(sizes[first]) * WORD > params.held_out_tokens
    return np.uint64(found[first[int(np.argmax(enough)) if enough.any() else -1]])


def _ranks(names: list[str], seed: int) -> np.ndarray:
    hashes = (hashlib.sha256(f"{seed} {name}".encode()).digest()[:8] for name in names)
    return np.frombuffer(b"".join(hashes), dtype=">u8").astype(np.uint64)


def check(ledger: dict[str, dict[str, Any]]) -> None:
    """A lost token is our bug; no blocks at all is a matter of the corpus."""
    for name, part in ledger.items():
        for split in SPLITS:
            counts = part[split]
            if counts["tokens_in"] != counts["tokens_out"]:
                raise RuntimeError(f"{name}, {split}: a token was lost: {counts}")
            if not counts["blocks"] and (split == "held_out" or part["share"]):
                raise StepError(
                    f"{name} has no {split} document with a token in it; add text to it, or change"
                    " pack.held_out in params.yaml"
                )


def grow(
    texts: Path, tokenizer: Tokenizer, limit: int, params: Pack
) -> tuple[Tokenizer, dict[str, Any]]:
    """Give words of the training text that the tokenizer tears tokens of their own."""
    parts = [part["part"] for part in read_json(texts / "text.json")["parts"] if part["share"]]
    read = (
        text
        for part in parts
        for split, found in split_texts(texts / part, params, read=True)
        if split == "train"
        for text in found
    )
    words = vocabulary.count_words(read, tokenizer)
    grown, pieces = vocabulary.extend(tokenizer, words, limit)
    fertility = [round(vocabulary.fertility(t, words), 4) for t in (tokenizer, grown)]
    print(f"{len(pieces)} new tokens: {fertility[0]} -> {fertility[1]} tokens a word")
    return grown, {"pieces": pieces, "fertility_before": fertility[0], "fertility": fertility[1]}


def main(adaptation: str, texts: Path, start: Path, out: Path) -> None:
    """Pack the text of ADAPTATION for the tokenizer of the checkpoint START."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # nothing is forked here
    params = load()
    limit = choose(adaptation, params.adaptations, "adaptation").text.new_tokens
    tokenizer, words = read_tokenizer(start), None
    if limit:
        tokenizer, words = grow(texts, tokenizer, limit, params.pack)
    manner = Manner.read(start, tokenizer, params.pack.block_tokens)
    with whole(out) as made:
        ledger = Packer(manner, params.pack, made).pack(texts)
        shutil.copyfile(start / "tokenizer.json", made / "tokenizer.json")
        if words:
            tokenizer.save(str(made / "tokenizer.json"))
            write_json(made / "vocabulary.json", words)
        write_json(made / "ledger.json", {"adaptation": adaptation, "parts": ledger})
    for name, part in ledger.items():
        print(f"{name}: ", end="")
        print("; ".join(f"{split} {said(part[split])}" for split in SPLITS))


def said(counts: dict[str, Any]) -> str:
    what = "{documents} documents, {tokens_in} tokens, {blocks} blocks, {fill:.1%} full"
    return what.format(**counts)


if __name__ == "__main__":
    run(main)
