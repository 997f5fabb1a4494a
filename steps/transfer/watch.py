"""Whether a training is still worth its time."""

import math
from collections import deque
from collections.abc import Iterable

from steps.core.entry import StepError

WINDOW = 50  # steps whose mean loss is looked at
RISE = 2.0  # nats by which it may exceed the lowest such mean


class Diverged(StepError):
    """The loss is no number, or runs away."""


class Watch:
    """Looks at the loss of each step; `losses` are those before a kill."""

    def __init__(self, losses: Iterable[float]) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._lowest = math.inf
        for loss in losses:
            self._mean(loss)

    def _mean(self, loss: float) -> float:
        self._recent.append(loss)
        mean = sum(self._recent) / len(self._recent)
        if len(self._recent) == WINDOW:
            self._lowest = min(self._lowest, mean)
        return mean

    def wrong(self, loss: float, norm: float) -> str | None:
        """Say what is wrong after a step, or None."""
        for name, value in (("loss", loss), ("gradient", norm)):
            if not math.isfinite(value):
                return f"the {name} is {value}"
        mean = self._mean(loss)
        if mean > self._lowest + RISE:
            return f"the loss of the last {WINDOW} steps is {mean:.2f}, after {self._lowest:.2f}"
        return None
