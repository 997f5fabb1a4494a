"""What a candidate gets wrong: pairs that it mixes up, and the errors worth reading."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from steps.judge.bootstrap import rounded
from steps.judge.contest import Contest
from steps.judge.metrics import Value, spans

NOTHING = "(nothing)"
BOUNDS = "other bounds"
MOST_OF_A_KIND = 4  # errors shown of one pair, so that one mix-up does not fill the list
Pair = tuple[str, str]


def mixed_up(kind: str, reference: Value, prediction: Value) -> list[Pair]:
    """Return the (reference, prediction) pairs of one item that are wrong."""
    if kind == "classification":
        return [] if reference == prediction else [(str(reference), str(prediction))]
    truth, said = sorted(spans(reference)), sorted(spans(prediction))
    missed = [span for span in truth if span not in said]
    extra = [span for span in said if span not in truth]
    pairs = []
    for start, end, label in missed:
        match = next((s for s in extra if s[0] < end and start < s[1]), None)
        if match is None:
            pairs.append((label, NOTHING))
            continue
        extra.remove(match)
        same = match[2] == label
        pairs.append((label, f"{label}, {BOUNDS}" if same else match[2]))
    return pairs + [(NOTHING, label) for _, _, label in extra]


def confusions(contest: Contest, most: int) -> list[dict[str, Any]]:
    """Pairs that the winner's bundled seed mixes up on test, the most frequent first."""
    counted = Counter(pair for pairs in _pairs(contest) for pair in pairs)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"reference": pair[0], "prediction": pair[1], "count": count}
        for pair, count in ranked[:most]
    ]


def errors(contest: Contest, most: int) -> list[dict[str, Any]]:
    """Errors of the winner on test: those of all seeds first, then the most confident."""
    references = contest.references["test"]
    said = contest.candidates[contest.winner].parts["test"]
    at = said.seeds.index(contest.seed)
    wrong = _wrong_seeds(references.kind, references.values, said.values)
    pairs = _pairs(contest)
    order = sorted(
        (place for place, found in enumerate(pairs) if found),
        key=lambda i: (-wrong[i], -said.confidences[at, i], references.ids[i]),
    )
    return [_error(contest, i, wrong[i]) for i in _varied(order, pairs, contest)[:most]]


def segments(text: str, reference: Value, prediction: Value) -> list[dict[str, str]]:
    """Cut a text where a span of either side begins or ends: text, kind, reference, prediction."""
    sides = [sorted(spans(value)) for value in (reference, prediction)]
    cuts = sorted({0, len(text), *(cut for side in sides for s, e, _ in side for cut in (s, e))})
    found = []
    for start, end in pairwise(cuts):
        one, other = (_label_at(side, start) for side in sides)
        kind = _kind(one, other)
        found.append({"text": text[start:end], "kind": kind, "reference": one, "prediction": other})
    return found


def _kind(reference: str, prediction: str) -> str:
    if reference == prediction:
        return "right" if reference else ""
    if not reference:
        return "extra"
    return "other" if prediction else "missed"


def _label_at(side: Sequence[tuple[int, int, str]], place: int) -> str:
    return next((label for start, end, label in side if start <= place < end), "")


def _pairs(contest: Contest) -> list[list[Pair]]:
    """Mixed-up pairs of each test item, by the seed that is bundled."""
    references = contest.references["test"]
    said = contest.candidates[contest.winner].parts["test"]
    values = said.values[said.seeds.index(contest.seed)]
    return [
        mixed_up(references.kind, reference, value)
        for reference, value in zip(references.values, values, strict=True)
    ]


def _wrong_seeds(kind: str, references: Sequence[Value], seeds: Sequence[list[Value]]) -> list[int]:
    return [
        sum(bool(mixed_up(kind, reference, values[i])) for values in seeds)
        for i, reference in enumerate(references)
    ]


def _varied(order: list[int], pairs: list[list[Pair]], contest: Contest) -> list[int]:
    """Keep few of a kind, and no text twice."""
    seen: Counter[Pair] = Counter()
    texts: set[str] = set()
    kept = []
    for place in order:
        text = contest.references["test"].examples[place]["text"]
        if seen[pairs[place][0]] < MOST_OF_A_KIND and text not in texts:
            kept.append(place)
        seen[pairs[place][0]] += 1
        texts.add(text)
    return kept


def _error(contest: Contest, place: int, wrong: int) -> dict[str, Any]:
    references = contest.references["test"]
    example, reference = references.examples[place], references.values[place]
    said = contest.candidates[contest.winner].parts["test"]
    at = said.seeds.index(contest.seed)
    prediction = said.values[at][place]
    baseline = contest.candidates[contest.baseline].parts["test"].values[0][place]
    tokens = references.kind == "tokens"
    return {
        "id": references.ids[place],
        "source": example["source"],
        "text": example["text"],
        "reference": reference,
        "prediction": prediction,
        "segments": segments(example["text"], reference, prediction) if tokens else None,
        "confidence": rounded(said.confidences[at, place]),
        "wrong_seeds": wrong,
        "seeds": len(said.seeds),
        "baseline_right": not mixed_up(references.kind, reference, baseline),
    }
