"""Documents -> fixed blocks: boundaries kept, no token lost, hardly any padding.

A document longer than a block is cut into pieces; pieces are put into blocks by best fit, the
longest first. Attention does not cross a boundary and positions restart at it, so that a piece
reads as if it were alone (Krell et al. 2021, arXiv:2107.02027).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from steps.core.entry import StepError

ARRAYS = {"tokens": np.uint32, "segments": np.uint16, "starts": np.bool_}


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


def cuts(length: int, room: int) -> list[int]:
    """Where a document is cut into pieces of `room` tokens, and a remainder.

    Even pieces would leave a gap in most blocks: 85% full on the demo's text, against 99%.
    """
    return [*range(0, length, room), length]


def best_fit(lengths: Sequence[int], block: int) -> list[list[int]]:
    """Group pieces, by number, into blocks of at most `block` tokens; longest first."""
    rooms: list[list[list[int]]] = [[] for _ in range(block + 1)]  # blocks by the room left
    some = 0  # bit n: a block with n tokens of room is there
    blocks: list[list[int]] = []
    for number in np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist():
        length = lengths[number]
        fitting = some >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            inside = rooms[room].pop()
            if not rooms[room]:
                some &= ~(1 << room)
        else:
            room, inside = block, []
            blocks.append(inside)
        inside.append(number)
        if room - length:  # a full block is done with
            rooms[room - length].append(inside)
            some |= 1 << (room - length)
    return blocks


@dataclass(frozen=True)
class Blocks:
    """tokens, segments, starts: (blocks, block_tokens); segment 0 is padding, and a word begins
    where `starts` is true.
    """

    tokens: np.ndarray
    segments: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, places: np.ndarray | slice) -> "Blocks":
        return Blocks(*(np.asarray(a[places]) for a in (self.tokens, self.segments, self.starts)))

    @property
    def size(self) -> int:
        """Number of tokens, padding not counted."""
        return int(np.count_nonzero(self.segments))

    def positions(self) -> np.ndarray:
        """Position of each token in its own segment: (blocks, block_tokens)."""
        change = np.diff(self.segments.astype(np.int64), axis=1, prepend=-1) != 0
        place = np.arange(self.segments.shape[1])
        return place - np.maximum.accumulate(np.where(change, place, 0), axis=1)

    def bounds(self) -> np.ndarray:
        """Where runs of one piece, or of padding, begin and end in the flattened blocks:
        (runs + 1,).
        """
        change = np.diff(self.segments.astype(np.int64), axis=1, prepend=-1) != 0
        return np.append(np.flatnonzero(change), change.size).astype(np.int32)

    def allowed(self) -> np.ndarray:
        """Which token may look at which: (blocks, block_tokens, block_tokens) bool."""
        return self.segments[:, :, None] == self.segments[:, None, :]

    def fill(
        self, groups: list[list[int]], piece: Callable[[int], tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Lay pieces out, given as (tokens, starts); segments count from 1 in each block."""
        for row, group in enumerate(groups):
            at = 0
            for segment, number in enumerate(group, 1):
                tokens, starts = piece(number)
                end = at + len(tokens)
                self.tokens[row, at:end], self.starts[row, at:end] = tokens, starts
                self.segments[row, at:end] = segment
                at = end

    @classmethod
    def create(cls, count: int, block: int, padding: int, path: Path | None = None) -> "Blocks":
        """Make empty blocks, in memory or (path: .../NAME) in files that `load` maps."""
        if path is None or not count:  # an empty file cannot be mapped
            made = [np.zeros((count, block), dtype=kind) for kind in ARRAYS.values()]
            for name, array in zip(ARRAYS, made if path else [], strict=False):
                np.save(f"{path}-{name}.npy", array)
        else:
            made = [
                np.lib.format.open_memmap(
                    f"{path}-{name}.npy", mode="w+", dtype=kind, shape=(count, block)
                )
                for name, kind in ARRAYS.items()
            ]
        made[0][:] = padding
        return cls(*made)

    @classmethod
    def load(cls, folder: Path, name: str) -> "Blocks":
        """Memory-map the blocks of a name."""
        return cls(*(np.load(folder / f"{name}-{part}.npy", mmap_mode="r") for part in ARRAYS))


@dataclass(frozen=True)
class Part:
    """The blocks [first, first + count) come from one corpus or task, read with a share."""

    name: str
    share: float
    first: int
    count: int
    tokens: int


def order(parts: Sequence[Part], seed: int) -> Iterator[int]:
    """Give block numbers without end: each part by its share of the tokens, evenly spread, and
    all its blocks, in an order of the epoch's own, before any comes again.
    """
    read = [part for part in parts if part.share > 0 and part.count]
    weights = np.array([part.share * part.count / part.tokens for part in read])
    weights /= weights.sum()
    streams = [_epochs(part, [seed, place]) for place, part in enumerate(read)]
    due = np.zeros(len(read))
    while True:
        due += weights
        chosen = int(np.argmax(due))
        due[chosen] -= 1.0
        yield next(streams[chosen])


def _epochs(part: Part, seed: list[int]) -> Iterator[int]:
    for epoch in itertools.count():
        numbers = np.random.default_rng([*seed, epoch]).permutation(part.count)
        yield from (part.first + int(number) for number in numbers)
