"""Text infilling for encoder-decoders (Lewis et al. 2020, arXiv:1910.13461, section 2.2).

Spans of Poisson length (3 on average, some of them empty) are each replaced by one mask; the
decoder writes the whole text. Without a mask token the unknown one marks the gaps.
"""

from collections.abc import Sequence

import numpy as np

from steps.core.entry import StepError
from steps.transfer.families import Family
from steps.transfer.layout import pairs, pieces_of
from steps.transfer.objectives import Batch, Objective
from steps.transfer.packing import Blocks

FAMILIES = ("encoder-decoder",)
SPAN = 3.0  # tokens in a span, on average


def objective(family: Family, rate: float, whole_words: bool) -> Objective:
    """`whole_words` has no part in it: spans are of tokens."""
    gap = family.unknown if family.mask is None else family.mask
    if gap is None:
        raise StepError(f"{family.start} has neither a mask nor an unknown token to mark gaps by")

    def make(blocks: Blocks, randoms: Sequence[np.random.Generator]) -> Batch:
        sources, targets = [], []
        for row, random in enumerate(randoms):
            for piece in pieces_of(blocks, row):
                free = np.flatnonzero(~np.isin(piece, family.special))
                sources.append(corrupt(piece, free, gap, rate, random))
                targets.append(piece)
        return pairs(sources, targets, family)

    return make


def corrupt(
    piece: np.ndarray, free: np.ndarray, gap: int, rate: float, random: np.random.Generator
) -> np.ndarray:
    """Replace spans until `rate` of the free tokens is hidden; the frame stays as it is."""
    left = max(1, round(rate * len(free))) if len(free) else 0
    hidden = np.zeros(len(piece), dtype=np.bool_)
    marks = np.zeros(len(piece), dtype=np.bool_)  # where a mask is put in front
    while left > 0:
        size = min(int(random.poisson(SPAN)), left)
        start = int(random.choice(free))
        stop = min(start + size, int(free[-1]) + 1)
        marks[start] = True
        left -= max(1, int((~hidden[start:stop]).sum()))
        hidden[start:stop] = True
    out: list[int] = []
    for at, token in enumerate(piece):
        if marks[at] and not (out and out[-1] == gap):
            out.append(gap)
        if not hidden[at]:
            out.append(int(token))
    return np.array(out, dtype=np.int64)
