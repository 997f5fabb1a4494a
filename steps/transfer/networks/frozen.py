"""What a frozen encoder gives for examples is computed once, for all epochs and seeds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steps.transfer.loop import autocast
from steps.transfer.networks.units import Example, Network
from steps.transfer.strategies import Material, Reading, Scorer

LARGE = 1 << 30  # bytes; more than that is kept in a file, in half precision
BATCH = 32


@torch.inference_mode()
def read_once(made: Network, examples: Sequence[Example], file: Path) -> list[Example]:
    """Give the examples their vectors, (units, layers, width); `file` is for large ones."""
    ends = np.cumsum([0, *(len(example.units) for example in examples)])
    layers = len(made.encoder.layers) + 1 if made.mix else 1
    held = _room((int(ends[-1]), layers, made.encoder.width), file)
    order = sorted(range(len(examples)), key=lambda place: examples[place].size)
    for at in range(0, len(order), BATCH):
        places = order[at : at + BATCH]
        batch = made.moved([examples[place] for place in places])
        with autocast(made.encoder.device):
            vectors = made.read(batch).float().cpu().numpy()
        for place, part in zip(places, _parts(vectors, examples, places), strict=True):
            held[ends[place] : ends[place + 1]] = part
    return [
        replace(example, vectors=held[start:end])
        for example, start, end in zip(examples, ends, ends[1:], strict=False)
    ]


def _room(shape: tuple[int, int, int], file: Path) -> np.ndarray:
    if 4 * np.prod(shape, dtype=np.int64) <= LARGE:
        return np.empty(shape, dtype=np.float32)
    file.parent.mkdir(parents=True, exist_ok=True)
    return np.memmap(file, dtype=np.float16, mode="w+", shape=shape)


def _parts(
    vectors: np.ndarray, examples: Sequence[Example], places: Sequence[int]
) -> list[np.ndarray]:
    ends = np.cumsum([len(examples[place].units) for place in places])
    return np.split(vectors, ends[:-1])


def rows_of(made: Network, material: Material) -> list[Example]:
    """The training examples, with targets and vectors."""
    file = material.room / "train.vectors"
    examples = material.examples
    return material.once("rows", lambda: read_once(made, made.rows(examples, learn=True), file))


def score_of(made: Network, material: Material) -> Callable[[], float] | None:
    """How good the network is on validation, as it stands; None where there is no such part."""
    if material.score is None or not material.validation:
        return None
    file = material.room / "validation.vectors"
    items = material.validation
    held = material.once("held", lambda: read_once(made, made.rows(items, learn=False), file))

    def scorer(reading: Reading, items: list[Any]) -> list[Any]:
        return made.answers(held, len(items), reading.batch_size)

    checked: Scorer = scorer
    return lambda: material.judged(checked)
