"""Span corruption for encoder-decoders with sentinels (Raffel et al. 2020, section 3.1.4).

Spans of three tokens on average are each replaced by a sentinel; the decoder writes the sentinels,
each with the tokens that it stands for.
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
    if not family.sentinels:
        raise StepError(
            f"{family.start} has no sentinels (<extra_id_0> ...), which objective denoise needs;"
            " set objective: infill"
        )

    def make(blocks: Blocks, randoms: Sequence[np.random.Generator]) -> Batch:
        sources, targets = [], []
        for row, random in enumerate(randoms):
            for piece in pieces_of(blocks, row):
                source, target = corrupt(piece, family, rate, random)
                sources.append(source)
                targets.append(target)
        return pairs(sources, targets, family)

    return make


def corrupt(
    piece: np.ndarray, family: Family, rate: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the encoder reads and what the decoder writes; the frame stays as it is."""
    inner = np.flatnonzero(~np.isin(piece, family.special))
    if not len(inner):
        return piece, piece
    first, last = inner[0], inner[-1] + 1
    body, end = piece[first:last], piece[last:]
    bounds = spans(len(body), rate, random)[: len(family.sentinels)]
    source, target, at = [piece[:first]], [], 0
    for sentinel, (start, stop) in zip(family.sentinels, bounds, strict=False):
        mark = np.array([sentinel])
        source += [body[at:start], mark]
        target += [mark, body[start:stop]]
        at = stop
    return np.concatenate([*source, body[at:], end]), np.concatenate([*target, end])


def spans(length: int, rate: float, random: np.random.Generator) -> list[tuple[int, int]]:
    """Choose about rate x length tokens in spans that do not touch: [start, stop) in order."""
    noise = min(max(1, round(length * rate)), max(1, length - 1))
    count = max(1, min(round(noise / SPAN), length - noise))
    inside, between = (_parts(total, count, random) for total in (noise, length - noise))
    found, at = [], 0
    for gap, size in zip(between, inside, strict=True):
        found.append((at + gap, at + gap + size))
        at += gap + size
    return found


def _parts(total: int, count: int, random: np.random.Generator) -> list[int]:
    """Cut `total` into `count` parts of one at least, if there are so many."""
    if total <= count:
        return [1] * total + [0] * (count - total)
    places = np.sort(random.choice(np.arange(1, total), count - 1, replace=False))
    return [int(size) for size in np.diff([0, *places, total])]
