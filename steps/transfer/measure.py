"""Held-out loss that can be compared: fixed masks, float32, weighted by token."""

from collections.abc import Sequence

import numpy as np
import torch

from steps.transfer.losses import PickedLogits, loss_sum
from steps.transfer.objectives import Objective
from steps.transfer.packing import Blocks, Part
from steps.transfer.step import Weights, tensors

Sums = tuple[float, int]  # of the cross-entropy in nats, and the number of predicted tokens
Losses = dict[str, dict[str, Sums]]  # when -> part -> sums


def held_out(
    weights: Weights, blocks: Blocks, parts: Sequence[Part], objective: Objective, batch: int
) -> dict[str, Sums]:
    """Measure each part; a block's chance comes from its place alone, so that the figure depends
    neither on the batch nor on the order.
    """
    found = {}
    with torch.no_grad(), weights.exact():  # what inference_mode makes could not move again
        lm = PickedLogits(weights.model.eval())
        for part in parts:
            total, count = 0.0, 0
            for at in range(part.first, part.first + part.count, batch):
                last = min(at + batch, part.first + part.count)
                # the place within the part: a part reads the same whatever is packed beside it
                chances = [np.random.default_rng([2, n - part.first]) for n in range(at, last)]
                made = objective(blocks[at:last], chances)
                inputs, picked, targets = tensors(made, weights.model)
                if len(targets):
                    total += float(loss_sum(lm(inputs, picked), targets))
                    count += len(targets)
            found[part.name] = (total, count)
    return found


def mean(sums: Sequence[Sums]) -> float:
    """Mean cross-entropy in nats per predicted token."""
    return sum(total for total, _ in sums) / max(1, sum(count for _, count in sums))
