"""A pretrained encoder whose mean vectors of a query and of the passage it should find are near.

Multiple negatives ranking (Henderson et al. 2017, arXiv:1705.00652, 4.4): of all passages of a
batch the query's own is to be chosen; scores are cosines times SCALE.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from steps.tasks import Item, task_type
from steps.transfer.loop import autocast
from steps.transfer.networks import Reads, Shape, hold
from steps.transfer.networks.encoder import Encoder, Inputs
from steps.transfer.networks.modules import mean
from steps.transfer.networks.rows import Reader, Row
from steps.transfer.networks.training import Plan, batches
from steps.transfer.strategies import Material

SCALE = 20.0
KINDS = ("query", "passage")


@dataclass(frozen=True)
class Pair:
    """query and passage as they are read; `found`: the numbers of all passages that are right for
    the query, and `number` that of this one: passages alike have one number.
    """

    query: Row
    passage: Row
    number: int
    found: frozenset[int]

    @property
    def size(self) -> int:
        return self.query.size + self.passage.size


class Network(nn.Module):
    """Nothing is added to the encoder: frozen, it answers untrained."""

    def __init__(self, encoder: Encoder, reads: Reads) -> None:
        super().__init__()
        hold(self, encoder, reads.shape.frozen)
        self.reads, self.task = reads, task_type(reads.type)

    @classmethod
    def build(cls, start: Path, material: Material, shape: Shape) -> "Network":
        shape.only("frozen", "dropped")
        reads = Reads(material.task, material.classes, material.max_tokens, shape)
        return cls(Encoder(start, dropped=shape.dropped), reads)

    @classmethod
    def load(cls, start: Path, weights: Path) -> "Network":
        reads = Reads.load(weights)
        own = None if reads.shape.frozen else weights
        return cls(Encoder(start, own, reads.shape.dropped), reads).eval()

    def save(self, out: Path) -> None:
        self.reads.save(out)
        if not self.reads.shape.frozen:
            self.encoder.save(out)

    def _read(self, texts: Sequence[Item], inputs: tuple[str, ...]) -> list[Row]:
        most = min(self.reads.max_tokens, self.encoder.limit)
        return Reader(self.encoder.tokenizer, inputs, most, self.encoder.causal).whole(texts)

    def rows(self, examples: Sequence[Item], learn: bool) -> list[Pair]:
        """Pairs to learn from; there is nothing else to be made of examples (see `scores`)."""
        number = {target: n for n, target in enumerate(dict.fromkeys(map(_target, examples)))}
        found: dict[tuple[str, ...], set[int]] = {}
        for example in examples:
            found.setdefault(self._query(example), set()).add(number[_target(example)])
        queries = self._read(examples, self.task.INPUTS)
        passages = self._read(examples, ("target",))
        return [
            Pair(query, passage, number[_target(e)], frozenset(found[self._query(e)]))
            for e, query, passage in zip(examples, queries, passages, strict=True)
        ]

    def _query(self, item: Item) -> tuple[str, ...]:
        return tuple(item[name] for name in self.task.INPUTS)

    def collate(self, rows: Sequence[Pair]) -> dict[str, Tensor]:
        """`right`: (queries, passages), whether a passage is one of a query's."""
        batch = {"right": torch.tensor([[p.number in row.found for p in rows] for row in rows])}
        for kind in KINDS:
            inputs = self.encoder.inputs([getattr(row, kind) for row in rows])
            batch |= {f"{kind}_{name}": part for name, part in vars(inputs).items()}
        return batch

    def forward(self, right: Tensor, **batch: Tensor) -> Tensor:
        """Mean over queries; another passage that is right for a query is not counted as wrong."""
        queries, passages = (
            self._vectors(Inputs(**{n.removeprefix(f"{k}_"): batch[n] for n in batch if k in n}))
            for k in KINDS
        )
        scores = SCALE * (queries @ passages.T).float()
        own = torch.arange(len(scores), device=scores.device)
        others = right & (own.unsqueeze(0) != own.unsqueeze(1))
        return functional.cross_entropy(scores.masked_fill(others, float("-inf")), own)

    def _vectors(self, inputs: Inputs) -> Tensor:
        """(rows, width), each of length 1."""
        return functional.normalize(mean(self.encoder(inputs), inputs.mask), dim=-1)

    @staticmethod
    def layout(sizes: Sequence[int], plan: Plan) -> list[list[np.ndarray]]:
        """`batches`, but none of one pair, of which nothing can be learnt: it joins another."""
        return [_joined(epoch) for epoch in batches(sizes, plan)]

    def scores(self, items: Sequence[Item], batch_size: int) -> list[dict[str, Any]]:
        """A dict for each item: query, and passage where it has a target, else None: (width,)."""
        having = [n for n, item in enumerate(items) if isinstance(item.get("target"), str)]
        passages = {_target(items[n]): n for n in having}  # of those alike one is enough
        queries = self._embed(self._read(items, self.task.INPUTS), batch_size)
        found = [items[n] for n in passages.values()]
        vectors = self._embed(self._read(found, ("target",)), batch_size) if found else []
        of = dict(zip(passages, vectors, strict=True))
        return [
            {"query": query, "passage": of.get(item.get("target"))}
            for query, item in zip(queries, items, strict=True)
        ]

    @torch.inference_mode()
    def _embed(self, rows: Sequence[Row], batch_size: int) -> list[np.ndarray]:
        self.eval()
        found: list[np.ndarray] = [np.zeros(0)] * len(rows)
        order = sorted(rows, key=lambda row: row.size)
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size]
            inputs = self.encoder.inputs(chosen).to(self.encoder.device)
            with autocast(self.encoder.device):
                vectors = self._vectors(inputs).float().cpu().numpy()
            for row, vector in zip(chosen, vectors, strict=True):
                found[row.item] = vector
        return found

    def groups(self) -> list[list[nn.Parameter]]:
        return [] if self.reads.shape.frozen else self.encoder.groups()


def _target(item: Item) -> str:
    return str(item["target"])


def _joined(epoch: list[np.ndarray]) -> list[np.ndarray]:
    """Put each batch of one row to the one before it (the first: to the one after)."""
    found: list[np.ndarray] = []
    for batch in epoch:
        if found and (len(batch) == 1 or len(found[-1]) == 1):
            found[-1] = np.concatenate([found[-1], batch])
        else:
            found.append(batch)
    return found
