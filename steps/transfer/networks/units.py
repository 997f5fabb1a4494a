"""A pretrained encoder with a linear head on each unit: classes, labels or a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from steps.tasks import Item, task_type
from steps.transfer.loop import autocast
from steps.transfer.networks import Reads, Shape, hold
from steps.transfer.networks.encoder import Encoder, Inputs
from steps.transfer.networks.modules import POOLS, Field, Mix, both_ways
from steps.transfer.networks.rows import Reader, Row
from steps.transfer.plain.vocabulary import Vocabulary
from steps.transfer.strategies import Material

INPUTS = ("ids", "types", "mask", "rows", "columns")


@dataclass(frozen=True)
class Example:
    """What is read at once: one window of an item, or all where units are weighed together.

    units: their numbers, in the order of the text. Of each unit, where there are any: targets;
    plain, a sparse row of features; vectors (units, layers, width), of a frozen encoder.
    """

    rows: list[Row]
    units: np.ndarray
    targets: np.ndarray | None = None
    plain: Any = None
    vectors: np.ndarray | None = None

    @property
    def item(self) -> int:
        return self.rows[0].item

    @property
    def size(self) -> int:
        return len(self.rows) * max(row.size for row in self.rows)


class Network(nn.Module):
    """`weights`: of the classes in the loss, all alike if None; a field takes none."""

    def __init__(self, encoder: Encoder, reads: Reads, vocabulary: Vocabulary | None) -> None:
        super().__init__()
        hold(self, encoder, reads.shape.frozen)
        self.reads, self.vocabulary = reads, vocabulary
        self.task = task_type(reads.type)
        shape, classes = reads.shape, len(reads.classes)
        width = encoder.width
        if self.task.LEVEL == "text":
            self.pool, times = POOLS[shape.pool]
            width *= times
        self.mix = Mix(len(encoder.layers) + 1) if shape.mix else None
        self.lstm = None
        if shape.lstm:
            self.lstm = nn.LSTM(width, shape.lstm, bidirectional=True, batch_first=True)
            width = 2 * shape.lstm
        self.linear = nn.Linear(width, classes)
        self.wide = None
        if vocabulary is not None:
            self.wide = nn.EmbeddingBag(len(vocabulary.number), classes, mode="sum")
            nn.init.zeros_(self.wide.weight)
        self.field = Field(classes) if shape.crf else None
        self.dropout = nn.Dropout(0.0)
        self.weights: Tensor | None = None
        self.to(encoder.device)

    @classmethod
    def build(cls, start: Path, material: Material, shape: Shape) -> "Network":
        reads = Reads(material.task, material.classes, material.max_tokens, shape)
        vocabulary = None
        if shape.wide:
            kind = material.type
            found = [row for example in material.examples for row in kind.features(example)]
            vocabulary = Vocabulary.fit(found, kind.WEIGHED)
        return cls(Encoder(start, dropped=shape.dropped), reads, vocabulary)

    @classmethod
    def load(cls, start: Path, weights: Path) -> "Network":
        reads = Reads.load(weights)
        own = None if reads.shape.frozen else weights
        vocabulary = Vocabulary.load(weights) if reads.shape.wide else None
        made = cls(Encoder(start, own, reads.shape.dropped), reads, vocabulary)
        made.load_state_dict(load_file(weights / "head.safetensors"), strict=False)
        return made.eval()

    def save(self, out: Path) -> None:
        self.reads.save(out)
        if not self.reads.shape.frozen:
            self.encoder.save(out)
        if self.vocabulary is not None:
            self.vocabulary.save(out)
        save_file(self._head(), out / "head.safetensors", metadata={"format": "pt"})

    def _head(self) -> dict[str, Tensor]:
        state = self.state_dict()
        return {n: state[n].cpu().contiguous() for n in state if not n.startswith("encoder.")}

    @property
    def reader(self) -> Reader:
        most = min(self.reads.max_tokens, self.encoder.limit)
        return Reader(self.encoder.tokenizer, self.task.INPUTS, most, self.encoder.causal)

    def rows(self, examples: Sequence[Item], learn: bool) -> list[Example]:
        """One for each window, or each item where the head reads its units together; what has no
        unit teaches nothing.
        """
        if self.task.LEVEL == "words":
            rows = self.reader.words(examples, [self.task.units(item) for item in examples])
        else:
            rows = self.reader.whole(examples)
        read = [[row] for row in rows]
        if self.field or self.lstm:
            read = [list(part) for _, part in groupby(rows, lambda row: row.item)]
        targets = [self.task.targets(e, self.reads.classes) for e in examples] if learn else None
        plain = self._features(examples) if self.vocabulary else None
        found = []
        for part in read:
            units, item = np.sort(np.concatenate([row.units for row in part])), part[0].item
            if learn and not len(units):
                continue
            truth = targets[item][units] if targets else None
            found.append(Example(part, units, truth, plain[item][units] if plain else None))
        return found

    def _features(self, examples: Sequence[Item]) -> list[Any]:
        """A sparse matrix for each item: (units, features)."""
        assert self.vocabulary is not None
        units = [self.task.features(item) for item in examples]
        matrix = self.vocabulary.matrix([row for rows in units for row in rows])
        ends = np.cumsum([0, *map(len, units)])
        return [matrix[start:end] for start, end in pairwise(ends)]

    def collate(self, rows: Sequence[Example]) -> dict[str, Any]:
        batch = self._read(rows)
        batch["lengths"] = torch.tensor([len(example.units) for example in rows])
        if self.vocabulary is not None:
            batch |= _bags([example.plain for example in rows])
        if rows[0].targets is not None:
            batch["targets"] = torch.from_numpy(np.concatenate([r.targets for r in rows]))
        return batch

    def _read(self, examples: Sequence[Example]) -> dict[str, Any]:
        """What the encoder reads, or what it gave."""
        if examples[0].vectors is not None:
            found = np.concatenate([example.vectors for example in examples])
            return {"vectors": torch.from_numpy(found.astype(np.float32, copy=False))}
        rows = [row for example in examples for row in example.rows]
        batch: dict[str, Any] = vars(self.encoder.inputs(rows)).copy()
        if len(rows) > len(examples):  # units of several windows, into the order of the text
            order = torch.from_numpy(_in_order(examples))
            batch |= {name: batch[name][order] for name in ("rows", "columns")}
        return batch

    def forward(self, targets: Tensor, **batch: Tensor) -> Tensor:
        """Mean loss over units."""
        scores = self.emissions(**batch)
        if self.task.OUTPUT == "number":
            return functional.mse_loss(scores, targets)
        if self.task.OUTPUT == "labels":
            return functional.binary_cross_entropy_with_logits(
                scores, targets, pos_weight=self.weights
            )
        if self.field is None:
            return functional.cross_entropy(scores, targets, self.weights)
        return self.field.loss(scores, targets, batch["lengths"]) / len(targets)

    def emissions(self, **batch: Tensor) -> Tensor:
        """Return (units, classes) scores, in float32."""
        vectors = self.dropout(self.vectors(batch))
        with torch.autocast(vectors.device.type, enabled=False):  # halves round a number to 1/256
            scores = self.linear(vectors.float())
        if self.wide is not None:
            numbers, offsets, counts = (batch[name] for name in ("numbers", "offsets", "counts"))
            scores = scores + self.wide(numbers, offsets, per_sample_weights=counts)
        return scores

    def vectors(self, batch: dict[str, Tensor]) -> Tensor:
        """Return (units, width)."""
        found = batch["vectors"] if "vectors" in batch else self.read(batch)
        mixed = self.mix(found.transpose(0, 1)) if self.mix else found[:, 0]
        return both_ways(self.lstm, mixed, batch["lengths"]) if self.lstm else mixed

    def read(self, batch: dict[str, Tensor]) -> Tensor:
        """What the encoder gives: (units, layers, width), the last layer alone if none are mixed.

        A mean over tokens may come before the mix of layers: both are linear.
        """
        inputs = Inputs(*(batch[name] for name in INPUTS))
        layers = self.encoder.every_layer(inputs) if self.mix else self.encoder(inputs)[None]
        if self.task.LEVEL == "text":
            return torch.stack([self.pool(hidden, inputs.mask) for hidden in layers], dim=1)
        return layers[:, inputs.rows, inputs.columns].transpose(0, 1)

    @torch.inference_mode()
    def units(self, examples: Sequence[Example], batch_size: int = 32) -> np.ndarray:
        """The vectors of the examples' units, in their order: (units, width)."""
        self.eval()
        found: list[Any] = [None] * len(examples)
        order = sorted(range(len(examples)), key=lambda place: examples[place].size)
        with autocast(self.encoder.device):
            for at in range(0, len(order), batch_size):
                places = order[at : at + batch_size]
                batch = self.moved([examples[place] for place in places])
                vectors = self.vectors(batch).float().cpu().numpy()
                ends = np.cumsum([len(examples[place].units) for place in places])
                for place, part in zip(places, np.split(vectors, ends[:-1]), strict=True):
                    found[place] = part
        return np.concatenate(found)

    def moved(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A batch where the encoder is."""
        where = self.encoder.device
        return {name: part.to(where) for name, part in self.collate(examples).items()}

    def scores(self, items: Sequence[Item], batch_size: int) -> list[np.ndarray]:
        """Probabilities (or numbers) of each unit of each item: (units, classes)."""
        return self.answers(self.rows(items, learn=False), len(items), batch_size)

    @torch.inference_mode()
    def answers(self, examples: Sequence[Example], items: int, batch_size: int) -> list[np.ndarray]:
        """The same for so many items that have been read; each example is of one of them."""
        self.eval()
        sizes = np.zeros(items, dtype=np.int64)
        for example in examples:
            sizes[example.item] += len(example.units)
        found = [np.zeros((size, len(self.reads.classes)), dtype=np.float32) for size in sizes]
        order = sorted(range(len(examples)), key=lambda place: examples[place].size)
        for at in range(0, len(order), batch_size):
            chosen = [examples[place] for place in order[at : at + batch_size]]
            batch = self.moved(chosen)
            with autocast(self.encoder.device):
                shares = self._shares(self.emissions(**batch), batch["lengths"]).cpu().numpy()
            ends = np.cumsum([len(example.units) for example in chosen])
            for example, part in zip(chosen, np.split(shares, ends[:-1]), strict=True):
                found[example.item][example.units] = part
        return found

    def _shares(self, scores: Tensor, lengths: Tensor) -> Tensor:
        if self.task.OUTPUT == "number":
            return scores
        if self.task.OUTPUT == "labels":
            return scores.sigmoid()
        if self.field is None or not len(scores):
            return scores.softmax(dim=-1)
        return self.field.shares(scores, lengths)

    def groups(self) -> list[list[nn.Parameter]]:
        head = [w for name, w in self.named_parameters() if not name.startswith("encoder.")]
        return [*([] if self.reads.shape.frozen else self.encoder.groups()), head]


def _in_order(examples: Sequence[Example]) -> np.ndarray:
    """The places of the rows' units, as they stand in the texts."""
    rows = [row for example in examples for row in example.rows]
    texts = np.repeat(
        np.arange(len(examples)), [sum(len(row.units) for row in e.rows) for e in examples]
    )
    return np.lexsort([np.concatenate([row.units for row in rows]), texts])


def _bags(plain: Sequence[Any]) -> dict[str, Tensor]:
    """Sparse matrices, one below the other, as an EmbeddingBag reads them."""
    lengths = np.concatenate([np.diff(part.indptr) for part in plain])
    return {
        "numbers": torch.from_numpy(np.concatenate([p.indices for p in plain]).astype(np.int64)),
        "counts": torch.from_numpy(np.concatenate([p.data for p in plain]).astype(np.float32)),
        "offsets": torch.from_numpy(np.cumsum([0, *lengths])[:-1]),
    }
