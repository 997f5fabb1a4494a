"""Speed of the paired bootstrap; how often it and a naive `>` promote candidates that are alike.

    python -m tests.bench.judge

Prints one JSON line.
"""

import json
import resource
import time

import numpy as np

from steps.core.params import Judge
from steps.judge.bootstrap import paired, verdict
from steps.judge.metrics import METRICS, stack
from steps.judge.values import Array

LABELS = [f"label{i}" for i in range(6)]
ITEMS, SEEDS, RESAMPLES = 10_000, 3, 10_000
PAIRS, PAIR_ITEMS = 300, 500
GAIN = 0.05
SLOPE = 0.145  # of the mean chance of being right against its logit, for items spread like these


def speed() -> dict[str, float]:
    """Seconds and megabytes of one comparison by macro-F1."""
    draw = np.random.default_rng(0)
    references = draw.choice(LABELS, ITEMS)
    metric = METRICS["macro_f1"]

    def candidate(skill: float) -> Array:
        said = [
            np.where(draw.random(ITEMS) < skill, references, draw.choice(LABELS, ITEMS)).tolist()
            for _ in range(SEEDS)
        ]
        return stack(metric, references.tolist(), said, LABELS)

    a, b = candidate(0.70), candidate(0.68)
    judge = Judge(resamples=RESAMPLES, confidence=0.95, min_slice=20, seed=11)
    began = time.perf_counter()
    paired(a, b, metric, judge)
    seconds = time.perf_counter() - began
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "megabytes": round(megabytes)}


def promoted(gain: float, spread: float) -> tuple[float, float]:
    """Shares of simulated pairs that the judge and a naive `>` promote; `spread` is the seeds'."""
    draw = np.random.default_rng(1)
    judge = Judge(resamples=500, confidence=0.95, min_slice=20, seed=11)
    found, naive = 0, 0
    for _ in range(PAIRS):
        ease = draw.normal(0.8, 2, PAIR_ITEMS)
        a, b = (_right(draw, ease + shift, spread) for shift in (gain / SLOPE, 0.0))
        found += verdict(paired(_counts(a), _counts(b), METRICS["accuracy"], judge)) == "promote"
        naive += bool(a.mean() > b.mean())
    return round(found / PAIRS, 4), round(naive / PAIRS, 4)


def _right(draw: np.random.Generator, ease: Array, spread: float) -> Array:
    seeds = draw.normal(0, spread, (SEEDS, 1))
    return (draw.random((SEEDS, len(ease))) < 1 / (1 + np.exp(-ease - seeds))).astype(float)


def _counts(right: Array) -> Array:
    return np.stack([right, np.ones_like(right)], axis=-1)


def main() -> None:
    summary: dict[str, float] = speed()
    for spread in (0.0, 0.2):
        null, naive = promoted(0.0, spread)
        gained, _ = promoted(GAIN, spread)
        name = f"seed_spread_{spread}"
        summary |= {
            f"null_promoted_{name}": null,
            f"naive_null_promoted_{name}": naive,
            f"found_5_points_{name}": gained,
        }
    print(json.dumps(summary, sort_keys=True))


if __name__ == "__main__":
    main()
