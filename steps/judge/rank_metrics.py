"""Scores of the place at which a search has the right passage, 1 for the first."""

from collections.abc import Callable, Sequence

from steps.core.entry import StepError
from steps.judge.values import Array, Value, Values, counted


def recall_at(most: int) -> Callable[[Values, Values, Sequence[str]], Array]:
    """Make the statistics of recall: (items, 2), whether the rank is at most so many, counted."""

    def statistics(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
        return counted(float(_rank(said) <= most) for said in predictions)

    return statistics


def reciprocal_ranks(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2): 1 / rank, counted."""
    return counted(1 / _rank(said) for said in predictions)


def _rank(said: Value) -> int:
    if not isinstance(said, int) or said < 1:
        raise StepError(f"a rank is {said!r}; expected 1, 2, ...: run `evaluate` again")
    return said
