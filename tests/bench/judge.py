"""Does the judge decide as it says? Calibration by simulation and on real predictions; speed.

    python -m tests.bench.judge

Simulated candidates have 3 seeds and 500 items. Seeds of one recipe disagree on a twelfth of the
items, two recipes on a sixth, and seeds' scores spread by half a point and more. Real ones are
retrains of one recipe (TF-IDF, linear SVM) on other samples of the demo's task `changes`,
which is fetched and read first where it is not there. Prints one JSON line a result, the summary
last.
"""

import json
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from steps.core.files import read_rows
from steps.core.params import Judge
from steps.core.progress import Bar
from steps.judge.bootstrap import Paired, paired, verdict
from steps.judge.metrics import METRICS, Metric, stack
from steps.judge.values import Array

LABELS = [f"label{i}" for i in range(6)]
ITEMS, SEEDS, RESAMPLES = 10_000, 3, 10_000  # of the measure of speed
PAIRS, GAIN_PAIRS, PAIR_ITEMS = 1000, 2000, 500
EASE, WIDTH, TASTE = 2.5, 8.0, 2.6  # of items in logits: mean, spread; by how much recipes differ
JUDGE = Judge(resamples=2000, confidence=0.95, min_slice=20, seed=11)
EXAMPLES = Path("data/examples/changes/examples")
RETRAINS, TRAINED_ON, POOL = 150, (600, 1200), 1500


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
    paired(a[:, :100], b[:, :100], metric, judge)  # SciPy is imported once
    began = time.perf_counter()
    paired(a, b, metric, judge)
    seconds = time.perf_counter() - began
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "megabytes": round(megabytes)}


class Simulated:
    """Pairs of candidates, of one recipe or of two, whose chances differ by `gain` points."""

    def __init__(self) -> None:
        draw = np.random.default_rng(3)
        ease = draw.normal(EASE, np.hypot(WIDTH, TASTE), 400_000)
        shifts = np.linspace(0, 4, 81)
        gains = np.array([_chance(ease + shift).mean() for shift in shifts])
        self.shifts, self.gains = shifts, gains - gains[0]
        chance = _chance(ease)
        self.slope = float((chance * (1 - chance)).mean())

    def pairs(
        self, gain: float, spread: float, taste: float, pairs: int
    ) -> Iterator[tuple[Array, Array]]:
        """Yield the two sides' (seeds, items) of 0 and 1; `spread` is of seeds' scores."""
        draw = np.random.default_rng([1, int(gain * 1000), int(spread * 1000), int(taste)])
        shift = float(np.interp(gain, self.gains, self.shifts))
        for _ in range(pairs):
            ease = draw.normal(EASE, np.hypot(WIDTH, TASTE if not taste else 0), PAIR_ITEMS)
            yield tuple(  # type: ignore[misc]
                _right(draw, ease + more + draw.normal(0, taste, PAIR_ITEMS), spread / self.slope)
                for more in (shift, 0.0)
            )


def _chance(ease: Array) -> Array:
    return 1 / (1 + np.exp(-ease))


def _right(draw: np.random.Generator, ease: Array, spread: float) -> Array:
    seeds = draw.normal(0, spread, (SEEDS, 1))
    return (draw.random((SEEDS, len(ease))) < _chance(ease + seeds)).astype(float)


def _counts(right: Array) -> Array:
    return np.stack([right, np.ones_like(right)], axis=-1)


def judged(
    pairs: Iterator[tuple[Array, Array]], metric: Metric, what: str, many: int
) -> dict[str, Any]:
    """Shares of verdicts over pairs of (seeds, items, k) counts, and of a naive `>`."""
    found: list[Paired] = []
    naive = 0
    with Bar(what, many) as bar:
        for a, b in pairs:
            found.append(paired(a, b, metric, JUDGE))
            one, other = (metric.score(side[:1].sum(axis=1)).item() for side in (a, b))
            naive += one > other
            bar.advance(1)
    said = Counter(verdict(one) for one in found)
    shares = {name: said[name] / many for name in ("promote", "refuse", "inconclusive")}
    row = {"what": what, "pairs": many, **shares, "naive": naive / many}
    row |= {"detectable": float(np.median([one.detectable for one in found]))}
    print(json.dumps({name: _short(value) for name, value in row.items()}), flush=True)
    return row


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def simulate() -> dict[str, Any]:
    """Null pairs at several spreads of seeds; true gains, and what gain is found 8 times in 10."""
    made, accuracy = Simulated(), METRICS["accuracy"]

    def run(gain: float, spread: float, taste: float) -> dict[str, Any]:
        what = f"gain {gain:.2f}, seeds {spread}, {'two recipes' if taste else 'one recipe'}"
        many = GAIN_PAIRS if gain else PAIRS
        counts = ((_counts(a), _counts(b)) for a, b in made.pairs(gain, spread, taste, many))
        return judged(counts, accuracy, what, many)

    spreads = (0.0, 0.005, 0.02, 0.04)
    null = [run(0.0, spread, taste) for spread in spreads for taste in (0.0, TASTE)]
    gained = {gain: run(gain, 0.005, TASTE) for gain in (0.03, 0.04, 0.05, 0.06)}
    normal = NormalDist()
    found = [normal.inv_cdf(min(0.999, row["promote"])) for row in gained.values()]
    true = float(np.interp(normal.inv_cdf(0.8), found, list(gained)))
    said = float(np.median([row["detectable"] for row in gained.values()]))
    return {
        "null": null,
        "found_5_points": gained[0.05]["promote"],
        "inconclusive_3_points": gained[0.03]["inconclusive"],
        "mde": said,
        "mde_true": true,
        "mde_error": abs(said / true - 1),
    }


def real() -> dict[str, Any]:
    """Null pairs of retrains on other samples, and the gain of twice the labels."""
    test, said = retrained()
    macro = METRICS["macro_f1"]
    labels = sorted({*test, *(one for row in said[0] for one in row)})
    counts = [stack(macro, test, rows, labels) for rows in said]  # (retrains, items, k)
    gap = float(np.mean(macro.score(counts[1].sum(1))) - np.mean(macro.score(counts[0].sum(1))))

    def pairs(a: Array, b: Array) -> Iterator[tuple[Array, Array]]:
        draw = np.random.default_rng(5)
        for _ in range(PAIRS):
            at = draw.choice(len(test), PAIR_ITEMS, replace=False)
            rows = draw.choice(len(a), 2 * SEEDS, replace=False)
            yield a[rows[:SEEDS]][:, at], b[rows[SEEDS:]][:, at]

    null = judged(pairs(counts[0], counts[0]), macro, "real, one recipe", PAIRS)
    what = f"real, {TRAINED_ON[1]} labels against {TRAINED_ON[0]}: {gap:+.3f}"
    judged(pairs(counts[1], counts[0]), macro, what, PAIRS)
    return null


def retrained() -> tuple[list[str], list[list[list[str]]]]:
    """Labels of the test pool, and for both numbers of labels what each retrain says of it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    if not EXAMPLES.exists():
        subprocess.run(["dvc", "repro", "ingest_task@changes"], check=True)
    rows = sorted(read_rows(EXAMPLES), key=lambda row: str(row["id"]))
    order = np.random.default_rng(7).permutation(len(rows)).tolist()
    test, train = ([rows[i] for i in part] for part in (order[:POOL], order[POOL:]))
    reader = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    texts = reader.fit_transform([row["text"] for row in train])
    held = reader.transform([row["text"] for row in test])
    labels = np.array([row["label"] for row in train])
    found: list[list[list[str]]] = [[] for _ in TRAINED_ON]
    with Bar("retrain", 2 * RETRAINS) as bar:
        for number in range(RETRAINS):
            drawn = np.random.default_rng([9, number]).permutation(len(train))
            for place, many in enumerate(TRAINED_ON):
                at = drawn[:many]
                model = LinearSVC(random_state=0).fit(texts[at], labels[at])
                found[place].append(model.predict(held).tolist())
                bar.advance(1)
    return [str(row["label"]) for row in test], found


def main() -> None:
    quick = speed()
    print(json.dumps({"what": "speed", **quick}), flush=True)
    simulated = simulate()
    null = [*simulated.pop("null"), real()]
    summary = {
        **quick,
        **simulated,
        "null_pairs": sum(row["pairs"] for row in null),
        "null_promoted": float(np.mean([row["promote"] for row in null])),
        "null_promoted_most": max(row["promote"] for row in null),
        "naive_null_promoted": float(np.mean([row["naive"] for row in null])),
    }
    print(json.dumps({name: _short(value) for name, value in sorted(summary.items())}))


if __name__ == "__main__":
    main()
