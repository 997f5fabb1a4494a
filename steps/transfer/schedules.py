"""Learning-rate schedules: the share of the peak rate at a step."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]  # progress in [0, 1] -> share of the peak

SCHEDULES: dict[str, Schedule] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "constant": lambda progress: 1.0,
}


def share(schedule: str, step: int, steps: int, warmup: float) -> float:
    """Rise linearly over the first `warmup` share of the steps, then follow the schedule."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return SCHEDULES[schedule]((step - rise) / max(1, steps - rise))
