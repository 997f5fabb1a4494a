"""Scores of texts against a target: BLEU and chrF from added-up counts, ROUGE by text, perplexity.

BLEU cuts words as sacreBLEU's 13a does, and ROUGE takes letters a-z and digits alone: where a
language is written without spaces or in other letters, chrF is the one that tells something.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from math import isfinite
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.judge.values import Array, Value, Values, counted, share, text

WORD_ORDERS, CHARACTER_ORDERS = 4, 6  # n-grams of up to so many words in BLEU, characters in chrF
LETTERS = re.compile("[a-z0-9]+")
RECALL = 2  # chrF: recall weighs so many times as much as precision
MOST_NATS = 100.0  # a word: a perplexity of 10^43 is as bad as any, and can still be squared
Rouge = Callable[[Value, Value], float]


def bleu_counts(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 10): of n-grams of 1 to 4 words those right, those said; words said, expected.

    Papineni et al. 2002, doi:10.3115/1073083.1073135, as Post 2018 has it, arXiv:1804.08771.
    """
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    cut, orders = Tokenizer13a(), range(1, WORD_ORDERS + 1)
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        truth, said = (cut(text(one).rstrip()).split() for one in (reference, prediction))
        right = [_overlap(truth, said, n) for n in orders]
        rows.append([*right, *(_grams(said, n) for n in orders), len(said), len(truth)])
    return np.array(rows, dtype=np.float64).reshape(-1, 2 * WORD_ORDERS + 2)


def bleu(sums: Array) -> Array:
    """sacreBLEU's corpus score as a share: exponential smoothing, four orders of n-grams.

    The first order without a match counts half an n-gram, the next a quarter, and so on.
    """
    right, said = sums[..., :WORD_ORDERS], sums[..., WORD_ORDERS:-2]
    words, expected = sums[..., -2], sums[..., -1]
    missed = (right == 0) & (said > 0)
    smoothed = 0.5 ** np.cumsum(missed, axis=-1)
    precision = share(np.where(missed, smoothed, right), said)
    known = np.all(precision > 0, axis=-1, keepdims=True) & np.any(right > 0, -1, keepdims=True)
    logs = np.log(np.where(known, precision, 1.0)).mean(-1)
    short = np.minimum(0.0, 1 - np.divide(expected, np.maximum(words, 1)))
    return np.where(known[..., 0], np.exp(logs + short), 0.0)


def chrf_counts(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 18): of n-grams of 1 to 6 characters those right, said, and of the target.

    What is said in orders that a target is too short for does not count. Popović 2015,
    doi:10.18653/v1/W15-3049.
    """
    rows = []
    for reference, prediction in zip(references, predictions, strict=True):
        truth, said = ("".join(text(one).split()) for one in (reference, prediction))
        orders = range(1, CHARACTER_ORDERS + 1)
        counts = [
            (_overlap(truth, said, n), _grams(said, n) * (len(truth) >= n), _grams(truth, n))
            for n in orders
        ]
        rows.append([count for column in zip(*counts, strict=True) for count in column])
    return np.array(rows, dtype=np.float64).reshape(-1, 3 * CHARACTER_ORDERS)


def chrf(sums: Array) -> Array:
    """sacreBLEU's corpus chrF2 as a share: precision and recall are means over orders."""
    right, said, truth = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    there = (said > 0) & (truth > 0)
    orders = there.sum(-1)
    precision = share((share(right, said) * there).sum(-1), orders)
    recall = share((share(right, truth) * there).sum(-1), orders)
    weight = RECALL**2
    return share((1 + weight) * precision * recall, weight * precision + recall)


def rouge(score: Rouge) -> Callable[[Values, Values, Sequence[str]], Array]:
    """Make the statistics of a text's own F score: (items, 2), the score, counted."""

    def statistics(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
        return counted(score(*pair) for pair in zip(references, predictions, strict=True))

    return statistics


def rouge_1(reference: Value, prediction: Value) -> float:
    """F1 of stems. Lin 2004, https://aclanthology.org/W04-1013."""
    return _rouge_n(reference, prediction, 1)


def rouge_2(reference: Value, prediction: Value) -> float:
    """F1 of pairs of neighbouring stems."""
    return _rouge_n(reference, prediction, 2)


def rouge_l(reference: Value, prediction: Value) -> float:
    """F1 of the longest sequence of stems that both texts have in one order, with gaps."""
    truth, said = _stems(text(reference)), _stems(text(prediction))
    return 2 * _common(truth, said) / max(1, len(truth) + len(said))


def losses(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2): a target's loss in nats, its words; StepError where there is none."""
    pairs = [(said.get("loss"), said.get("words")) for said in predictions]
    for loss, words in pairs:
        if loss is None or not isfinite(loss) or not words:
            raise StepError(
                f"a prediction has loss {loss} over {words} words, and perplexity needs the loss of"
                " the target; take rouge_l, or a recipe whose model gives it"
            )
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def perplexity(sums: Array) -> Array:
    """exp of the loss a word: models with other tokens, measured by one scale."""
    found: Array = np.exp(np.minimum(share(sums[..., 0], sums[..., 1]), MOST_NATS))
    return found


def _rouge_n(reference: Value, prediction: Value, n: int) -> float:
    truth, said = _stems(text(reference)), _stems(text(prediction))
    return 2 * _overlap(truth, said, n) / max(1, _grams(truth, n) + _grams(said, n))


def _overlap(truth: Sequence[str], said: Sequence[str], n: int) -> int:
    """How many n-grams both have, each as often as the one that has it less often."""
    one, other = (Counter(_slices(side, n)) for side in (truth, said))
    return sum((one & other).values())


def _slices(side: Sequence[str], n: int) -> list[Any]:
    if isinstance(side, str):
        return [side[at : at + n] for at in range(_grams(side, n))]
    return list(zip(*(side[at:] for at in range(n)), strict=False))


def _grams(side: Sequence[str], n: int) -> int:
    return max(0, len(side) - n + 1)


def _common(truth: Sequence[str], said: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at once in an integer's bits.

    Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    every = (1 << len(truth)) - 1
    places: dict[str, int] = {}
    for at, word in enumerate(truth):
        places[word] = places.get(word, 0) | 1 << at
    row = every
    for word in said:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & every
    return len(truth) - row.bit_count()


def _stems(words: str) -> list[str]:
    return [stem for word in LETTERS.findall(words.lower()) for stem in _stem(word)]


@lru_cache(maxsize=100_000)  # a stem costs more than all else here, and words come again
def _stem(word: str) -> list[str]:
    found: list[str] = _tokenizer().tokenize(word)
    return found


@cache
def _tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # takes seconds

    return DefaultTokenizer(use_stemmer=True)
