"""A pretrained encoder that finds the answer to a question in a text, or that it has none.

Where the answer starts and ends is scored by a linear layer on the tokens of the text (Devlin et
al. 2019, arXiv:1810.04805, 4.2 and 4.3). That there is none has a layer of its own, on the first
token, or on the last where tokens know nothing of later ones. A long text is read in windows that
overlap: one without the answer learns that there is none; the best candidates of all windows are
kept, and of no answer the least score. What no answer's score is raised by is chosen on validation
(Rajpurkar et al. 2018, arXiv:1806.03822, 5.1).
"""

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
from steps.transfer.networks import Reads, Shape
from steps.transfer.networks.encoder import Encoder, Inputs
from steps.transfer.networks.rows import Reader, Row
from steps.transfer.strategies import Material

LONGEST = 30  # tokens of an answer
BEST = 20  # candidates that are kept of an item
TRIED = 64  # thresholds
INPUTS = ("ids", "types", "mask", "rows", "columns")
Candidates = dict[tuple[int, int], float]  # start and end in the text -> score


@dataclass(frozen=True)
class Window:
    """A row and its target: where the answer starts and ends, counted from 1; 0 for no answer."""

    row: Row
    target: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        return self.row.size


class Network(nn.Module):
    """`threshold` is added to the score of no answer."""

    def __init__(self, encoder: Encoder, reads: Reads) -> None:
        super().__init__()
        self.encoder, self.reads, self.task = encoder, reads, task_type(reads.type)
        self.bounds = nn.Linear(encoder.width, 2)
        self.none = nn.Linear(encoder.width, 2)
        self.dropout = nn.Dropout(0.0)
        self.register_buffer("threshold", torch.zeros(()))
        self.to(encoder.device)

    @classmethod
    def build(cls, start: Path, material: Material, shape: Shape) -> "Network":
        shape.only("dropped")
        reads = Reads(material.task, material.classes, material.max_tokens, shape)
        return cls(Encoder(start, dropped=shape.dropped), reads)

    @classmethod
    def load(cls, start: Path, weights: Path) -> "Network":
        reads = Reads.load(weights)
        made = cls(Encoder(start, weights, reads.shape.dropped), reads)
        made.load_state_dict(load_file(weights / "head.safetensors"), strict=False)
        return made.eval()

    def save(self, out: Path) -> None:
        self.reads.save(out)
        self.encoder.save(out)
        state = self.state_dict()
        head = {n: state[n].cpu().contiguous() for n in state if not n.startswith("encoder.")}
        save_file(head, out / "head.safetensors", metadata={"format": "pt"})

    def rows(self, examples: Sequence[Item], learn: bool) -> list[Window]:
        most = min(self.reads.max_tokens, self.encoder.limit)
        reader = Reader(self.encoder.tokenizer, self.task.INPUTS, most)
        rows = reader.windows(examples)
        if not learn:
            return [Window(row) for row in rows]
        found = []
        for number, group in groupby(rows, lambda row: row.item):
            windows = list(group)
            targets = _targets(windows, examples[number]["answers"])
            found += [Window(*pair) for pair in zip(windows, targets, strict=True)]
        return found

    def collate(self, rows: Sequence[Window]) -> dict[str, Tensor]:
        batch: dict[str, Any] = vars(self.encoder.inputs([window.row for window in rows])).copy()
        inside = np.zeros(batch["ids"].shape, dtype=np.bool_)
        for number, window in enumerate(rows):
            inside[number, : window.size] = _inside(window.row)
        batch["inside"] = torch.from_numpy(inside)
        if rows[0].target is not None:
            batch["targets"] = torch.tensor([window.target for window in rows])
        return batch

    def forward(self, targets: Tensor, **batch: Tensor) -> Tensor:
        """Mean loss over the windows, of start and end alike."""
        marks = self.marks(**batch)
        return functional.cross_entropy(marks.flatten(0, 1), targets.T.flatten())

    def marks(self, inside: Tensor, **batch: Tensor) -> Tensor:
        """Scores as start and as end, of no answer and of each token: (2, rows, 1 + tokens)."""
        inputs = Inputs(*(batch[name] for name in INPUTS))
        hidden = self.dropout(self.encoder(inputs))
        last = inputs.mask.sum(dim=1) - 1
        at = last if self.encoder.causal else torch.zeros_like(last)
        whole = hidden[torch.arange(len(hidden), device=hidden.device), at]
        with torch.autocast(hidden.device.type, enabled=False):  # halves cannot tell near scores
            own, none = self.bounds(hidden.float()), self.none(whole.float())
        own = own.masked_fill(~inside.unsqueeze(2), float("-inf"))
        return torch.cat([none.unsqueeze(1), own], dim=1).permute(2, 0, 1)

    @torch.inference_mode()
    def scores(self, items: Sequence[Item], batch_size: int) -> list[np.ndarray]:
        """No answer, then the best candidates of each item from the best on: (candidates, 3)."""
        self.eval()
        found: list[Candidates] = [{} for _ in items]
        none = np.full(len(items), np.inf)
        windows = sorted(self.rows(items, learn=False), key=lambda window: window.size)
        for at in range(0, len(windows), batch_size):
            chosen = windows[at : at + batch_size]
            batch = {n: part.to(self.encoder.device) for n, part in self.collate(chosen).items()}
            with autocast(self.encoder.device):
                start, end = self.marks(**batch).cpu()
            kept = (part.tolist() for part in _best(start[:, 1:], end[:, 1:]))
            nothing = (start[:, 0] + end[:, 0]).tolist()
            for window, unanswered, *best in zip(chosen, nothing, *kept, strict=True):
                number = window.row.item
                none[number] = min(none[number], unanswered)
                _add(found[number], window.row, items[number]["text"], zip(*best, strict=True))
        return [_raw(*pair) for pair in zip(none + float(self.threshold), found, strict=True)]

    def settle(self, material: Material, batch_size: int = 32) -> float:
        """Choose the threshold that scores best on validation, of equals the nearest to 0; return
        its score.
        """
        self.threshold.zero_()
        items = material.validation
        raws = self.scores(items, batch_size)
        answers = [said.value for said in self.task.decode(items, [raw[1:] for raw in raws], [])]
        gaps = np.array([raw[1, 2] - raw[0, 2] if len(raw) > 1 else -np.inf for raw in raws])
        assert material.score is not None
        scored = [
            (material.score([answers[n] if gaps[n] > at else "" for n in range(len(items))]), at)
            for at in _between(gaps[np.isfinite(gaps)])
        ]
        best, chosen = max(scored, key=lambda pair: (pair[0], -abs(pair[1])))
        self.threshold.fill_(chosen)
        return best

    def groups(self) -> list[list[nn.Parameter]]:
        head = [w for name, w in self.named_parameters() if not name.startswith("encoder.")]
        return [*self.encoder.groups(), head]


def _inside(row: Row) -> np.ndarray:
    """Which tokens are of the text: (tokens,)."""
    return (row.offsets[:, 0] >= 0) & (row.offsets[:, 1] > row.offsets[:, 0])


def _targets(windows: list[Row], answers: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """For each window of an item the first answer that it holds whole."""
    targets = [(0, 0)] * len(windows)
    for answer in reversed(answers):
        start, end = answer["start"], answer["start"] + len(answer["text"])
        places = [
            np.flatnonzero(_inside(row) & (row.offsets[:, 0] < end) & (row.offsets[:, 1] > start))
            for row in windows
        ]
        most = max(map(len, places))
        for number, place in enumerate(places):
            if most and len(place) == most:
                targets[number] = (int(place[0]) + 1, int(place[-1]) + 1)
    return targets


def _best(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score, first and last token of each row's best candidates, from (rows, tokens) scores."""
    ends = functional.pad(end, (0, LONGEST - 1), value=float("-inf")).unfold(1, LONGEST, 1)
    every = (start.unsqueeze(2) + ends).flatten(1)  # (rows, tokens * LONGEST)
    scores, places = every.topk(min(BEST, every.shape[1]))
    first = places // LONGEST
    return scores, first, first + places % LONGEST


def _add(found: Candidates, row: Row, text: str, best: Any) -> None:
    """Keep what is more than white space, by its place in the text, with its best score."""
    for score, first, last in best:
        if score == float("-inf"):
            continue
        start, end = int(row.offsets[first, 0]), int(row.offsets[last, 1])
        said = text[start:end].strip()
        start += len(text[start:end]) - len(text[start:end].lstrip())
        if said:
            place = (start, start + len(said))
            found[place] = max(score, found.get(place, score))


def _raw(none: float, found: Candidates) -> np.ndarray:
    best = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:BEST]
    return np.array([(-1, -1, none), *((*place, score) for place, score in best)])


def _between(gaps: np.ndarray) -> list[float]:
    """0, and thresholds that divide the gaps evenly: above none of them, above all, and between."""
    if not len(gaps):
        return [0.0]
    levels = np.unique(gaps)
    middles = [(low + high) / 2 for low, high in pairwise([levels[0] - 2, *levels, levels[-1] + 2])]
    chosen = np.linspace(0, len(middles) - 1, min(TRIED, len(middles))).round().astype(int)
    return [0.0, *(float(middles[n]) for n in chosen)]
