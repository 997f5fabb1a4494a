"""Masked language modelling, 80/10/10 (Devlin et al. 2019, section 3.1); whole words on demand."""

from collections.abc import Sequence

import numpy as np

from steps.core.entry import StepError
from steps.transfer.families import Family
from steps.transfer.layout import present
from steps.transfer.objectives import Batch, Objective
from steps.transfer.packing import Blocks

FAMILIES = ("masked",)


def objective(family: Family, rate: float, whole_words: bool) -> Objective:
    if family.mask is None:
        raise StepError(
            f"{family.start} has no mask token, which objective mlm needs; take a base with one"
        )

    def make(blocks: Blocks, randoms: Sequence[np.random.Generator]) -> Batch:
        rows = [blocks[n : n + 1] for n in range(len(blocks))]
        parts = [
            corrupt(row, family, rate, whole_words, random)
            for row, random in zip(rows, randoms, strict=True)
        ]
        ids, picked = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        labels = np.where(picked, blocks.tokens.astype(np.int64), -1)
        return present(blocks, ids, labels, family)

    return make


def corrupt(
    blocks: Blocks, family: Family, rate: float, whole_words: bool, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return (inputs, picked), both (blocks, block_tokens); special tokens are never picked."""
    tokens = blocks.tokens.astype(np.int64)
    free = (blocks.segments > 0) & ~np.isin(tokens, family.special)
    chance = random.random(tokens.shape)
    if whole_words:  # the chance of a word's first token is that of the word
        word = np.maximum.accumulate(np.where(blocks.starts, np.arange(tokens.size), 0).ravel())
        chance = chance.ravel()[word].reshape(tokens.shape)
    picked = free & (chance < rate)
    if free.any() and not picked.any():  # a block of few tokens teaches something too
        picked = free & (chance == chance[free].min())
    how = random.random(tokens.shape)
    noise = random.integers(0, family.vocabulary, tokens.shape)
    changed = np.where(how < 0.8, family.mask, np.where(how < 0.9, noise, tokens))
    return np.where(picked, changed, tokens), picked
