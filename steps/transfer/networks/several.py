"""One encoder with a head for each of several tasks; it answers for the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from steps.tasks import Item
from steps.transfer.networks.training import Plan, batches
from steps.transfer.networks.units import Network


@dataclass(frozen=True)
class Row:
    """A row of the task of that number."""

    task: int
    row: Any

    @property
    def size(self) -> int:
        return int(self.row.size)


class Several(nn.Module):
    """`others`: what further tasks are learned, each a network with `own`'s encoder and its
    examples.
    """

    def __init__(self, own: Network, others: Sequence[tuple[Network, Sequence[Item]]]) -> None:
        super().__init__()
        self.own = own
        self.others = nn.ModuleList(network for network, _ in others)
        for network in self.others:  # so that weights are counted, and kept, once
            network.__dict__["encoder"] = network._modules.pop("encoder")
        self.examples = [examples for _, examples in others]

    @property
    def networks(self) -> list[Network]:
        return [self.own, *self.others]

    def rows(self, examples: Sequence[Item], learn: bool) -> list[Row]:
        """The rows of the own examples, and then those of the others."""
        parts = zip(self.networks, [examples, *self.examples], strict=True)
        return [
            Row(number, row)
            for number, (network, items) in enumerate(parts)
            for row in network.rows(items, learn)
        ]

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """A batch of one task."""
        task = rows[0].task
        return {"task": task, **self.networks[task].collate([row.row for row in rows])}

    def forward(self, task: int, **batch: Tensor) -> Tensor:
        loss: Tensor = self.networks[task](**batch)
        return loss

    def scores(self, items: Sequence[Item], batch_size: int) -> list[Any]:
        return self.own.scores(items, batch_size)

    def groups(self) -> list[list[nn.Parameter]]:
        """The encoder's layers, and all heads as one."""
        *layers, head = self.own.groups()
        return [*layers, [*head, *self.others.parameters()]]


def shares(sizes: Sequence[int], temperature: float) -> list[int]:
    """How many rows of each task an epoch has: all of the first; of the others so many that tasks'
    shares are as size ** (1 / temperature) (Raffel et al. 2020, arXiv:1910.10683, 3.5.2).
    """
    first = sizes[0]
    return [max(1, round(first * (size / first) ** (1 / temperature))) for size in sizes]


def lay_out(
    tasks: Sequence[int], temperature: float, sizes: Sequence[int], plan: Plan
) -> list[list[np.ndarray]]:
    """As `training.batches`, each of them of one task; tasks: of each row, its number."""
    of = np.asarray(tasks)
    rows = [np.flatnonzero(of == number) for number in range(int(of.max()) + 1)]
    wanted = shares([len(part) for part in rows], temperature)
    found = []
    for epoch in range(plan.epochs):
        cut: list[np.ndarray] = []
        for number, (part, count) in enumerate(zip(rows, wanted, strict=True)):
            random = np.random.default_rng([plan.seed, epoch, number])
            times = -(-count // len(part))
            drawn = np.concatenate([random.permutation(part) for _ in range(times)])[:count]
            once = replace(plan, epochs=1, seed=int(random.integers(2**31)))
            laid = batches([sizes[row] for row in drawn], once)[0]
            cut += [drawn[batch] for batch in laid]
        order = np.random.default_rng([plan.seed, epoch]).permutation(len(cut))
        found.append([cut[place] for place in order])
    return found
