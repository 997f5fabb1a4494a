"""Scores of answers, by the definition of SQuAD 2.0's evaluation (Rajpurkar et al. 2018,
arXiv:1806.03822): lower case, ASCII punctuation and the articles a, an, the left out; the best of
several right answers counts. A question without an answer is answered rightly by nothing, which an
answer of articles and punctuation alone is, too.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

from steps.judge.values import Array, Value, Values, counted

ARTICLE = re.compile(r"\b(a|an|the)\b")
SIGNS = str.maketrans("", "", string.punctuation)
Words = list[str]


def exact_matches(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2): whether the words are those of a right answer, counted."""
    return counted(exact_match(*pair) for pair in zip(references, predictions, strict=True))


def answer_f1s(references: Values, predictions: Values, labels: Sequence[str]) -> Array:
    """Return (items, 2): F1 of the words against the nearest right answer, counted."""
    return counted(answer_f1(*pair) for pair in zip(references, predictions, strict=True))


def exact_match(answers: Value, prediction: Value) -> float:
    """1 where a prediction has the words of one of the answers, else 0."""
    return float(answer_words(prediction) in _right(answers))


def answer_f1(answers: Value, prediction: Value) -> float:
    """F1 of a prediction's words, best over the answers."""
    said = answer_words(prediction)
    return max(_f1(truth, said) for truth in _right(answers))


def answer_words(answer: str) -> Words:
    """The words that count; punctuation inside a word joins its parts, as in `o'clock`."""
    return ARTICLE.sub(" ", answer.lower().translate(SIGNS)).split()


def _right(answers: Sequence[str]) -> list[Words]:
    """The answers' words; where none has any, nothing is the right answer."""
    return [words for answer in answers if (words := answer_words(answer))] or [[]]


def _f1(truth: Words, said: Words) -> float:
    if not truth or not said:
        return float(truth == said)
    common = sum((Counter(truth) & Counter(said)).values())
    return 2 * common / (len(truth) + len(said))
