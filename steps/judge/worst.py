"""The items with the worst scores, where none is simply right or wrong; and an item as it is shown.

An item is ranked by the task's metric of it alone; where that says nothing (correlation of one
number) or little (BLEU of one sentence), by a metric of the same type that does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from steps.judge.contest import Contest
from steps.judge.metrics import METRICS, Metric, stack
from steps.judge.values import Array, Value, rounded, text

OF_ITEMS = {  # metric -> that by which single items are ranked in its place
    "pearson": "mae",
    "spearman": "mae",
    "bleu": "chrf",
    "recall_at_1": "mrr",
    "recall_at_5": "mrr",
    "recall_at_10": "mrr",
}
FIELDS = {"pairs": ("text", "pair"), "question_answering": ("question", "text")}  # that are shown
CHARACTERS = 600  # shown of a long text


def worst(contest: Contest, most: int) -> list[dict[str, Any]]:
    """Test items on which the winner scores worst, mean over its seeds; no text twice."""
    metric = METRICS[OF_ITEMS.get(contest.metric.name, contest.metric.name)]
    ours, baseline = (_scores(contest, metric, one) for one in (contest.winner, contest.baseline))
    references = contest.references["test"]
    perfect = 1.0 if metric.better > 0 else 0.0
    order = sorted(
        np.flatnonzero(ours != perfect).tolist(),
        key=lambda i: (metric.better * ours[i], references.ids[i]),
    )
    first = {references.examples[place]["text"]: place for place in reversed(order)}
    kept = [place for place in order if first[references.examples[place]["text"]] == place]
    return [
        about(contest, place)
        | {"title": metric.title, "score": rounded(ours[place])}
        | {"baseline_score": rounded(baseline[place]), "segments": None}
        for place in kept[:most]
    ]


def about(contest: Contest, place: int) -> dict[str, Any]:
    """One test item as it is shown: what is read, the reference, what the bundled seed said."""
    references = contest.references["test"]
    kind, example, value = references.kind, references.examples[place], references.values[place]
    said = contest.candidates[contest.winner].parts["test"]
    at = said.seeds.index(contest.seed)
    answers = example.get("answers") or [{"start": 0}]
    around = {"text": answers[0]["start"]}
    return {
        "id": references.ids[place],
        "source": example["source"],
        "inputs": [
            [name, clipped(str(example[name]), around.get(name, 0))] for name in shown_fields(kind)
        ],
        "reference": shown(kind, value),
        "prediction": shown(kind, said.values[at][place]),
        "confidence": rounded(said.confidences[at, place]),
        "seeds": len(said.seeds),
    }


def shown_fields(kind: str) -> tuple[str, ...]:
    """The fields of an item that are shown, in reading order."""
    return FIELDS.get(kind, ("text",))


def shown(kind: str, value: Value) -> str:
    """A reference or prediction in words."""
    if kind == "retrieval" and isinstance(value, int):
        return f"rank {value}"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = [one if isinstance(one, str) else f"{one[2]} {one[0]}-{one[1]}" for one in value]
        return " / ".join(parts) or "(nothing)"
    return clipped(text(value)) or "(nothing)"


def clipped(text: str, at: int = 0) -> str:
    """Of a long text a part, with the character `at` in it."""
    start, end = cut(text, at)
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def cut(text: str, at: int) -> tuple[int, int]:
    """Where the part of a long text that is shown, with the character `at` in it, is."""
    start = max(0, min(at - CHARACTERS // 2, len(text) - CHARACTERS))
    return start, min(len(text), start + CHARACTERS)


def _scores(contest: Contest, metric: Metric, name: str) -> Array:
    """Score of each test item by itself, mean over seeds."""
    references = contest.references["test"]
    seeds = contest.candidates[name].parts["test"].values
    counts = stack(metric, references.values, seeds, references.labels)
    scores: Array = metric.score(counts).mean(axis=0)
    return scores
