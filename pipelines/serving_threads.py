"""How many threads answer fastest: more than that only take the cores from each other."""

import time
from collections.abc import Sequence

from pipelines.answering import Answerer

WORDS = "the quick brown fox looks for a setting of the cache that no one has read about "
SIZES = (1, 16)  # texts at once: a user alone, and many
ROUNDS = 5
GAIN = 0.75  # twice the threads must take at most so much of the time: all else needs cores, too


def fastest(models: Sequence[Answerer]) -> int:
    """Measure in the thread that is to answer; set and return the number of threads."""
    import torch

    most = torch.get_num_threads()
    chosen, best = 1, _seconds(models, 1)
    for count in [n for n in (2, 4, 8, 16, 32) if n < most] + [most] * (most > 1):
        spent = _seconds(models, count)
        if spent < GAIN * best:
            chosen, best = count, spent
    torch.set_num_threads(chosen)
    return chosen


def _seconds(models: Sequence[Answerer], count: int) -> float:
    """The sum over models and sizes, each the best of some rounds."""
    import torch

    torch.set_num_threads(count)
    return sum(_best(model, size) / size for model in models for size in SIZES)


def _best(model: Answerer, size: int) -> float:
    rows = [dict.fromkeys(model.inputs, WORDS * (1 + n % 3)) for n in range(size)]
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        model.answer(rows)
        found.append(time.perf_counter() - began)
    return min(found)
