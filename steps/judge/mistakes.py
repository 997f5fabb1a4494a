"""What a candidate gets wrong: pairs that it mixes up, and the errors worth reading.

Where an item is neither right nor wrong (numbers, texts, ranks), the worst items: worst.py.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from steps.judge.answer_metrics import answer_f1, answer_words, exact_match
from steps.judge.contest import Contest
from steps.judge.values import Value, spans, tagged
from steps.judge.worst import about, worst

NOTHING = "(nothing)"
BOUNDS = "other bounds"
ANSWER = "an answer"
CONFUSIONS = 12  # pairs shown
MOST_OF_A_KIND = 4  # errors shown of one pair, so that one mix-up does not fill the list
Pair = tuple[str, str]


def mixed_up(kind: str, reference: Value, prediction: Value) -> list[Pair]:
    """Return the (reference, prediction) pairs of one item that are wrong."""
    return MIXED[kind](reference, prediction) if kind in MIXED else []


def mistakes(contest: Contest, most: int) -> dict[str, Any]:
    """What a report has of them: `errors`, at most so many, and the pairs, `confusions`."""
    return {"errors": errors(contest, most), "confusions": confusions(contest, CONFUSIONS)}


def confusions(contest: Contest, most: int) -> list[dict[str, Any]]:
    """Pairs that the winner's bundled seed mixes up on test, the most frequent first."""
    counted = Counter(pair for pairs in _pairs(contest) for pair in pairs)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"reference": pair[0], "prediction": pair[1], "count": count}
        for pair, count in ranked[:most]
    ]


def errors(contest: Contest, most: int) -> list[dict[str, Any]]:
    """Errors of the winner on test: those of all seeds first, then the most confident.

    Where nothing is right or wrong, the items with the worst scores.
    """
    references = contest.references["test"]
    if references.kind not in MIXED:
        return worst(contest, most)
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


def _label_mixed(reference: Value, prediction: Value) -> list[Pair]:
    return [] if reference == prediction else [(str(reference), str(prediction))]


def _labels_mixed(reference: Value, prediction: Value) -> list[Pair]:
    missed = sorted(set(reference) - set(prediction))
    extra = sorted(set(prediction) - set(reference))
    return [(label, NOTHING) for label in missed] + [(NOTHING, label) for label in extra]


def _tags_mixed(reference: Value, prediction: Value) -> list[Pair]:
    return [
        (label, said or NOTHING) for label, said in tagged(reference, prediction) if label != said
    ]


def _answer_mixed(reference: Value, prediction: Value) -> list[Pair]:
    """An answer is missed, made up, of other bounds (some words are right), or another."""
    if exact_match(reference, prediction):
        return []
    if not answer_words(prediction):
        return [(ANSWER, NOTHING)]
    if not any(answer_words(answer) for answer in reference):
        return [(NOTHING, ANSWER)]
    return [(ANSWER, BOUNDS if answer_f1(reference, prediction) else "another answer")]


def _spans_mixed(reference: Value, prediction: Value) -> list[Pair]:
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


MIXED: dict[str, Callable[[Value, Value], list[Pair]]] = {  # types whose items are right or wrong
    "classification": _label_mixed,
    "sentiment": _label_mixed,
    "pairs": _label_mixed,
    "multilabel": _labels_mixed,
    "tokens": _spans_mixed,
    "tags": _tags_mixed,
    "question_answering": _answer_mixed,
}


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
    """Keep few of a kind, and nothing that is read twice."""
    seen: Counter[Pair] = Counter()
    texts: set[tuple[str, ...]] = set()
    kept = []
    for place in order:
        example = contest.references["test"].examples[place]
        text = tuple(example.get(name, "") for name in ("text", "pair", "question"))
        if seen[pairs[place][0]] < MOST_OF_A_KIND and text not in texts:
            kept.append(place)
        seen[pairs[place][0]] += 1
        texts.add(text)
    return kept


def _error(contest: Contest, place: int, wrong: int) -> dict[str, Any]:
    references = contest.references["test"]
    kind, reference = references.kind, references.values[place]
    said = contest.candidates[contest.winner].parts["test"]
    prediction = said.values[said.seeds.index(contest.seed)][place]
    baseline = contest.candidates[contest.baseline].parts["test"].values[0][place]
    return about(contest, place) | {
        "segments": _marked(kind, references.examples[place]["text"], reference, prediction),
        "wrong_seeds": wrong,
        "baseline_right": not mixed_up(kind, reference, baseline),
    }


def _marked(
    kind: str, text: str, reference: Value, prediction: Value
) -> list[dict[str, str]] | None:
    """The text in segments, where spans are marked in it; of tags those that are wrong."""
    if kind not in ("tokens", "tags"):
        return None
    one, other = spans(reference), spans(prediction)
    both = one & other if kind == "tags" else set()
    return segments(text, one - both, other - both)
