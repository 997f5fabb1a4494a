"""Documents -> fixed blocks: boundaries kept, no token lost, hardly any padding.

A document longer than a block is cut into pieces; pieces are put into blocks by best fit, the
longest first. Attention does not cross a boundary and positions restart at it, so that a piece
reads as if it were alone (Krell et al. 2021, arXiv:2107.02027).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from steps.core.entry import StepError

Piece = tuple[int, ...]


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read tokenizer.json, its own truncation and padding turned off."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise StepError(
            f"no {path}; save the base with a fast tokenizer (AutoTokenizer.save_pretrained)"
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Find the special tokens that the tokenizer puts before and after a text."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a").ids
    at = next(n for n in range(len(full)) if full[n : n + len(bare)] == bare)
    return full[:at], full[at + len(bare) :]


def cut(ids: Sequence[int], room: int) -> list[Piece]:
    """Cut a document into pieces of at most `room` tokens, as even as can be."""
    count = -(-len(ids) // room)
    bounds = [round(place * len(ids) / count) for place in range(count + 1)] if count else []
    return [tuple(ids[a:b]) for a, b in itertools.pairwise(bounds)]


def best_fit(lengths: Sequence[int], block: int) -> list[list[int]]:
    """Group pieces, by number, into blocks of at most `block` tokens; longest first."""
    rooms: dict[int, list[list[int]]] = {}
    blocks: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        length = lengths[number]
        room = next((left for left in range(length, block) if rooms.get(left)), None)
        if room is None:
            room, inside = block, list[int]()
            blocks.append(inside)
        else:
            inside = rooms[room].pop()
        inside.append(number)
        rooms.setdefault(room - length, []).append(inside)
    return blocks


def fill(pieces: Sequence[Piece], groups: list[list[int]], block: int, padding: int) -> "Blocks":
    """Lay the pieces out; segments count from 1 in each block, 0 is padding."""
    tokens = np.full((len(groups), block), padding, dtype=np.uint32)
    segments = np.zeros((len(groups), block), dtype=np.uint16)
    for row, group in enumerate(groups):
        at = 0
        for segment, number in enumerate(group, 1):
            end = at + len(pieces[number])
            tokens[row, at:end] = pieces[number]
            segments[row, at:end] = segment
            at = end
    return Blocks(tokens, segments)


@dataclass(frozen=True)
class Blocks:
    """tokens, segments: (blocks, block_tokens); segment 0 is padding."""

    tokens: np.ndarray
    segments: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, places: np.ndarray) -> "Blocks":
        return Blocks(np.asarray(self.tokens[places]), np.asarray(self.segments[places]))

    @property
    def size(self) -> int:
        """Number of tokens, padding not counted."""
        return int((self.segments > 0).sum())

    def positions(self) -> np.ndarray:
        """Position of each token in its own segment: (blocks, block_tokens)."""
        change = np.diff(self.segments.astype(np.int64), axis=1, prepend=-1) != 0
        place = np.arange(self.segments.shape[1])
        return place - np.maximum.accumulate(np.where(change, place, 0), axis=1)

    def allowed(self) -> np.ndarray:
        """Which token may look at which: (blocks, block_tokens, block_tokens) bool."""
        return self.segments[:, :, None] == self.segments[:, None, :]

    def save(self, folder: Path, name: str) -> None:
        np.save(folder / f"{name}-tokens.npy", self.tokens)
        np.save(folder / f"{name}-segments.npy", self.segments)

    @classmethod
    def load(cls, folder: Path, name: str) -> "Blocks":
        """Memory-map what `save` wrote."""
        parts = (np.load(folder / f"{name}-{p}.npy", mmap_mode="r") for p in ("tokens", "segments"))
        return cls(*parts)


def batches(blocks: Blocks, size: int, seed: int) -> Iterator[Blocks]:
    """Yield batches without end, each epoch in its own order, the last part of one joined on."""
    waiting = np.empty(0, dtype=np.int64)
    epoch = 0
    while True:
        while len(waiting) < size:
            order = np.random.default_rng([seed, epoch]).permutation(len(blocks))
            waiting = np.concatenate([waiting, order])
            epoch += 1
        yield blocks[waiting[:size]]
        waiting = waiting[size:]
