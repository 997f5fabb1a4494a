"""Causal language modelling: each token predicts the next one of its own document."""

from collections.abc import Sequence

import numpy as np

from steps.transfer.families import Family
from steps.transfer.layout import present
from steps.transfer.objectives import Batch, Objective
from steps.transfer.packing import Blocks

FAMILIES = ("causal",)


def objective(family: Family, rate: float, whole_words: bool) -> Objective:
    """Nothing is hidden: `rate` and `whole_words` have no part in it."""

    def make(blocks: Blocks, randoms: Sequence[np.random.Generator]) -> Batch:
        tokens = blocks.tokens.astype(np.int64)
        after = np.roll(tokens, -1, axis=1)
        same = np.zeros(tokens.shape, dtype=np.bool_)
        same[:, :-1] = blocks.segments[:, :-1] == blocks.segments[:, 1:]
        labels = np.where(same & (blocks.segments > 0), after, -1)
        return present(blocks, tokens, labels, family)

    return make
