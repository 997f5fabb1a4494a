"""Permutation language modelling (Yang et al. 2019, arXiv:1906.08237, sections 2.2 and 2.3).

The tokens of a piece are put into a random order; the last of them are predicted, each from all
that come before it in that order.
"""

from collections.abc import Sequence

import numpy as np

from steps.transfer.families import Family
from steps.transfer.objectives import Batch, Objective
from steps.transfer.packing import Blocks

FAMILIES = ("permuted",)
SEEN = -1  # the place in the order of what is not predicted: before all that is


def objective(family: Family, rate: float, whole_words: bool) -> Objective:
    """`whole_words` has no part in it: a word's later pieces are predicted from its first."""

    def make(blocks: Blocks, randoms: Sequence[np.random.Generator]) -> Batch:
        tokens = blocks.tokens.astype(np.int64)
        free = (blocks.segments > 0) & ~np.isin(tokens, family.special)
        orders = [_order(row, rate, random) for row, random in zip(free, randoms, strict=True)]
        return batch(blocks, tokens, np.stack(orders))

    return make


def _order(free: np.ndarray, rate: float, random: np.random.Generator) -> np.ndarray:
    """Return each token's place in the order of prediction, or SEEN: (block_tokens,)."""
    place = np.full(len(free), SEEN, dtype=np.int64)
    chosen = random.permutation(np.flatnonzero(free))
    chosen = chosen[: max(1, round(rate * len(chosen)))]
    place[chosen] = np.arange(len(chosen))
    return place


def batch(blocks: Blocks, tokens: np.ndarray, order: np.ndarray) -> Batch:
    """Make a batch of a given order of prediction: (blocks, block_tokens), SEEN elsewhere."""
    predicted = order > SEEN
    hidden = predicted[:, None, :] & (order[:, :, None] <= order[:, None, :])
    hidden |= ~blocks.allowed()
    most = max(1, int(predicted.sum(axis=1).max()))
    mapping = np.zeros((len(tokens), most, tokens.shape[1]), dtype=np.float32)
    picked = []
    for row, chosen in enumerate(predicted):
        at = np.flatnonzero(chosen)
        mapping[row, np.arange(len(at)), at] = 1.0
        picked.append(row * most + np.arange(len(at)))
    inputs = {
        "input_ids": tokens,
        "perm_mask": hidden.astype(np.float32),
        "target_mapping": mapping,
    }
    return Batch(inputs, np.concatenate(picked), tokens[predicted])
