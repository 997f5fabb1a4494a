"""How blocks are laid out for a model: pieces kept apart in a row, or each in a row of its own."""

from collections.abc import Sequence

import numpy as np

from steps.transfer.families import Family
from steps.transfer.objectives import Batch
from steps.transfer.packing import Blocks


def present(blocks: Blocks, ids: np.ndarray, labels: np.ndarray, family: Family) -> Batch:
    """Make a batch of ids and labels, (blocks, block_tokens); a label of -1 is not predicted."""
    if not family.packed:
        places = rows_of(blocks)  # (pieces, longest)
        ids, labels = _take(ids, places, family.padding), _take(labels, places, -1)
        inputs = {"input_ids": ids, "attention_mask": (places >= 0).astype(np.int64)}
    else:
        inputs = {"input_ids": ids, **family.apart(blocks)}
    picked = np.flatnonzero(labels >= 0)
    return Batch(inputs, picked, labels.ravel()[picked])


def rows_of(blocks: Blocks) -> np.ndarray:
    """Where the tokens of each piece lie in the flattened blocks, -1 after its end:
    (pieces, longest).
    """
    width = blocks.segments.shape[1]
    numbers = blocks.segments.astype(np.int64) + np.arange(len(blocks))[:, None] * (width + 1)
    flat = np.flatnonzero(blocks.segments)
    _, first, sizes = np.unique(numbers.ravel()[flat], return_index=True, return_counts=True)
    places = np.full((len(sizes), int(sizes.max(initial=1))), -1, dtype=np.int64)
    for row, (start, size) in enumerate(zip(first, sizes, strict=True)):
        places[row, :size] = flat[start : start + size]
    return places


def pieces_of(blocks: Blocks, row: int) -> list[np.ndarray]:
    """The pieces of one block, as arrays of token ids."""
    segments = blocks.segments[row]
    used = blocks.tokens[row][segments > 0].astype(np.int64)
    return np.split(used, np.flatnonzero(np.diff(segments[segments > 0])) + 1)


def pairs(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], family: Family) -> Batch:
    """Make a batch for an encoder-decoder: a row a pair, the target shifted right for the decoder
    (Vaswani et al. 2017).
    """
    read, mask = _pad(sources, family.padding)
    write, real = _pad(targets, family.padding)
    shifted = np.concatenate([np.full((len(write), 1), family.decoder_start), write[:, :-1]], 1)
    inputs = {"input_ids": read, "attention_mask": mask, "decoder_input_ids": shifted}
    picked = np.flatnonzero(real)
    return Batch(inputs, picked, write.ravel()[picked])


def _take(array: np.ndarray, places: np.ndarray, padding: int) -> np.ndarray:
    return np.where(places >= 0, array.ravel()[np.maximum(places, 0)], padding)


def _pad(rows: Sequence[np.ndarray], padding: int) -> tuple[np.ndarray, np.ndarray]:
    out = np.full((len(rows), max(map(len, rows))), padding, dtype=np.int64)
    mask = np.zeros(out.shape, dtype=np.int64)
    for number, row in enumerate(rows):
        out[number, : len(row)], mask[number, : len(row)] = row, 1
    return out, mask
