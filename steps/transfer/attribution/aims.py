"""What of a network is explained: one row that it reads, and the score of a class there.

Scores are logits: before a field weighs neighbours together, and before they become probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steps.transfer.attribution import Mark, Question
from steps.transfer.attribution.places import classes_of, spread, summed, units_of
from steps.transfer.networks.rows import Row
from steps.transfer.networks.span import Window
from steps.transfer.networks.units import Example

Score = Callable[[Tensor], Tensor]  # ids of copies of a row, (copies, tokens) -> (copies,)


@dataclass(frozen=True)
class Aim:
    """`batch`: the row as the network takes it. `looking`: the tokens whose vectors the score is
    made of. `plain`, `whole`: what features beside the encoder add, by words and in all.
    """

    row: Row
    score: Score
    batch: dict[str, Tensor]
    looking: np.ndarray
    plain: list[Mark]
    whole: float


def of_units(made: Any, question: Question) -> Aim | None:
    """The mean score of the units that are asked about, as far as the window of the first holds
    them; None where there is no such unit, or no such class.
    """
    units = units_of(made.task, question)
    classes = classes_of(made.task, question.label, made.reads.classes)
    if not units or not classes:
        return None
    alone = _alone(made.rows([question.item], learn=False), units[0])
    at = [n for n, unit in enumerate(alone.units) if unit in units]
    of = _best(made, alone, at, classes)

    def score(ids: Tensor) -> Tensor:
        batch = made.moved([alone] * len(ids)) | {"ids": ids}
        found: Tensor = made.emissions(**batch).unflatten(0, (len(ids), -1))
        return found[:, at, of].mean(dim=1)

    (row,) = alone.rows
    looking = np.arange(row.size) if made.task.LEVEL == "text" else row.columns[at]
    beside = _beside(made, question, alone, list(zip(at, of, strict=True)))
    return Aim(row, score, made.moved([alone]), looking, *beside)


def of_answer(made: Any, question: Question) -> Aim | None:
    """The score of the answer that the network gives, its start's and its end's together, in the
    window where that is highest; of no answer in the window where it is lowest, as it is judged by.
    """
    raw = made.scores([question.item], 1)[0]
    start, end = (int(n) for n in raw[int(raw[:, 2].argmax()), :2])
    aims = [_of_window(made, window, start, end) for window in made.rows([question.item], False)]
    found = [aim for aim in aims if aim is not None]
    with torch.inference_mode():
        scores = [float(aim.score(aim.batch["ids"])) for aim in found]
    best = max(scores, default=0.0) if start >= 0 else min(scores, default=0.0)
    return found[scores.index(best)] if found else None


def _alone(examples: list[Example], unit: int) -> Example:
    """The window that has a unit, without the others of its text."""
    pairs = ((example, row) for example in examples for row in example.rows)
    example, row = next(pair for pair in pairs if unit in pair[1].units)
    inside = np.flatnonzero(np.isin(example.units, row.units))
    plain = None if example.plain is None else example.plain[inside]
    return Example([row], example.units[inside], None, plain)


@torch.inference_mode()
def _best(made: Any, example: Example, at: list[int], classes: list[int]) -> list[int]:
    """Of each unit the class that has the highest score of these."""
    scores = made.emissions(**made.moved([example]))[at][:, classes]
    return [classes[int(place)] for place in scores.argmax(dim=1)]


def _beside(
    made: Any, question: Question, example: Example, aims: list[tuple[int, int]]
) -> tuple[list[Mark], float]:
    """What plain features that are read beside the encoder add, which is exact."""
    if made.wide is None:
        return [], 0.0
    names, weights = list(made.vocabulary.number), made.wide.weight.detach().cpu().numpy()
    marks: list[Mark] = []
    whole = 0.0
    for at, of in aims:
        row = example.plain[[at]]
        pairs = zip(row.indices, row.data, strict=True)
        added = {names[n]: float(value * weights[n, of]) for n, value in pairs}
        found, part = spread(made.task, question.item, int(example.units[at]), added)
        marks, whole = marks + found, whole + part / len(aims)
    return summed(marks, len(aims)), whole


def _of_window(made: Any, window: Window, start: int, end: int) -> Aim | None:
    bounds = _bounds(window.row, start, end)
    if bounds is None:
        return None
    first, last = bounds

    def score(ids: Tensor) -> Tensor:
        starts, ends = made.marks(**_moved(made, [window] * len(ids)) | {"ids": ids})
        found: Tensor = starts[:, first] + ends[:, last]
        return found

    looking = np.array([0] if first == 0 else [first - 1, last - 1])
    return Aim(window.row, score, _moved(made, [window]), looking, [], 0.0)


def _bounds(row: Row, start: int, end: int) -> tuple[int, int] | None:
    """The tokens where an answer starts and ends, counted from 1; 0 for no answer."""
    if start < 0:
        return 0, 0
    first = np.flatnonzero((row.offsets[:, 0] <= start) & (row.offsets[:, 1] > start))
    last = np.flatnonzero((row.offsets[:, 0] < end) & (row.offsets[:, 1] >= end))
    return (int(first[0]) + 1, int(last[-1]) + 1) if len(first) and len(last) else None


def _moved(made: Any, windows: list[Window]) -> dict[str, Tensor]:
    where = made.encoder.device
    return {name: part.to(where) for name, part in made.collate(windows).items()}
