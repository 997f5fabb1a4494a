"""The metrics once more, by the libraries that the field takes: what ours must equal.

Where no library has a metric (exact_match, answer_f1, perplexity, recall, MRR) it is written here
once more, as plainly as its definition: nothing of this is shared with the metrics but spans.
"""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

from steps.core.params import choose
from steps.judge.values import Span, Values, spans

Library = Callable[[Values, Values], float]


def library_score(name: str, references: Values, predictions: Values) -> float:
    """Score one list of predictions by the library of a metric, as a share where it gives 0-100."""
    return choose(name, LIBRARIES, "metric")(references, predictions)


def tags(found: Sequence[Span], length: int) -> list[str]:
    """Write spans that do not overlap as one IOB2 tag per character."""
    row = ["O"] * length
    for start, end, label in found:
        row[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return row


def _accuracy(references: Values, predictions: Values) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(references, predictions))


def _label_f1(average: str) -> Library:
    """F1 of labels; lists of them become rows of zeros and ones over the labels that are there."""

    def score(references: Values, predictions: Values) -> float:
        from sklearn.metrics import f1_score
        from sklearn.preprocessing import MultiLabelBinarizer

        truth: Any = references
        said: Any = predictions
        if not all(isinstance(value, str) for value in references):
            rows = MultiLabelBinarizer().fit([*references, *predictions])
            if not len(rows.classes_):
                return 0.0  # scikit-learn fails where there is no label at all
            truth, said = rows.transform(references), rows.transform(predictions)
            if len(rows.classes_) == 1:  # one column it would read as two classes
                return float(f1_score(truth.ravel(), said.ravel(), zero_division=0.0))
        return float(f1_score(truth, said, average=average, zero_division=0.0))

    return score


def _correlation(name: str) -> Library:
    def score(references: Values, predictions: Values) -> float:
        from scipy import stats

        if min(len(set(references)), len(set(predictions))) < 2:
            return 0.0  # SciPy has no number where a side is constant
        return float(getattr(stats, name)(references, predictions).statistic)

    return score


def _absolute_error(references: Values, predictions: Values) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(references, predictions))


def _span_f1(references: Values, predictions: Values) -> float:
    """Strict IOB2 over characters, which is exact agreement of spans."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    truth, said = [], []
    for reference, prediction in zip(references, predictions, strict=True):
        one, other = sorted(spans(reference)), sorted(spans(prediction))
        length = max((end for _, end, _ in (*one, *other)), default=1)
        truth.append(tags(one, length))
        said.append(tags(other, length))
    if not any(tag != "O" for row in (*truth, *said) for tag in row):
        return 0.0  # seqeval fails where there is no span at all
    return float(f1_score(truth, said, mode="strict", scheme=IOB2, zero_division=0))


def _tag_accuracy(references: Values, predictions: Values) -> float:
    truth, said = [], []
    for reference, prediction in zip(references, predictions, strict=True):
        by_bounds = {(start, end): label for start, end, label in spans(prediction)}
        for start, end, label in spans(reference):
            truth.append(label)
            said.append(by_bounds.get((start, end), ""))
    return _accuracy(truth, said) if truth else 0.0


def _answers(score: Callable[[list[str], list[str]], float]) -> Library:
    """Mean over questions of the best score against the right answers' words."""

    def mean(references: Values, predictions: Values) -> float:
        total = 0.0
        for answers, prediction in zip(references, predictions, strict=True):
            right = [words for words in map(_words, answers) if words]
            total += max(score(words, _words(prediction)) for words in right or [[]])
        return total / len(references)

    return mean


def _words(answer: str) -> list[str]:
    """Words but for a, an and the: those with no letter, digit or underscore beside them."""
    kept = "".join(sign for sign in answer.lower() if sign not in string.punctuation)
    found, at = "", 0
    while at < len(kept):
        article = next((one for one in ("an", "a", "the") if _stands(kept, at, one)), "")
        found += " " if article else kept[at]
        at += len(article) or 1
    return found.split()


def _stands(text: str, at: int, article: str) -> bool:
    before, after = text[:at][-1:], text[at + len(article) :][:1]
    beside = any(sign.isalnum() or sign == "_" for sign in (before, after) if sign)
    return text.startswith(article, at) and not beside


def _same(truth: list[str], said: list[str]) -> float:
    return 1.0 if truth == said else 0.0


def _word_f1(truth: list[str], said: list[str]) -> float:
    if not truth and not said:
        return 1.0
    left, hits = list(truth), 0
    for word in said:
        if word in left:
            left.remove(word)
            hits += 1
    if not hits:
        return 0.0
    precision, recall = hits / len(said), hits / len(truth)
    return 2 * precision * recall / (precision + recall)


def _sacrebleu(name: str) -> Library:
    def score(references: Values, predictions: Values) -> float:
        from sacrebleu import metrics

        found = getattr(metrics, name)().corpus_score(list(predictions), [list(references)])
        return float(found.score) / 100

    return score


def _rouge(name: str) -> Library:
    def score(references: Values, predictions: Values) -> float:
        from rouge_score.rouge_scorer import RougeScorer

        scorer, total = RougeScorer([name], use_stemmer=True), 0.0
        for reference, prediction in zip(references, predictions, strict=True):
            said = prediction["text"] if isinstance(prediction, dict) else prediction
            total += scorer.score(reference, said)[name].fmeasure
        return total / len(references)

    return score


def _perplexity(references: Values, predictions: Values) -> float:
    loss = sum(said["loss"] for said in predictions)
    return math.exp(min(100.0, loss / sum(said["words"] for said in predictions)))


def _recall(most: int) -> Library:
    def score(references: Values, predictions: Values) -> float:
        return len([rank for rank in predictions if rank <= most]) / len(predictions)

    return score


def _reciprocal_rank(references: Values, predictions: Values) -> float:
    return float(sum(1 / rank for rank in predictions)) / len(predictions)


LIBRARIES: dict[str, Library] = {
    "accuracy": _accuracy,
    "macro_f1": _label_f1("macro"),
    "micro_f1": _label_f1("micro"),
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
    "mae": _absolute_error,
    "span_f1": _span_f1,
    "tag_accuracy": _tag_accuracy,
    "exact_match": _answers(_same),
    "answer_f1": _answers(_word_f1),
    "bleu": _sacrebleu("BLEU"),
    "chrf": _sacrebleu("CHRF"),
    "rouge_1": _rouge("rouge1"),
    "rouge_2": _rouge("rouge2"),
    "rouge_l": _rouge("rougeL"),
    "perplexity": _perplexity,
    "recall_at_1": _recall(1),
    "recall_at_5": _recall(5),
    "recall_at_10": _recall(10),
    "mrr": _reciprocal_rank,
}
