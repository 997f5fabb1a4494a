"""Seeds that learnt nothing but to say one thing, such as the most frequent label."""

import json

from steps.judge.values import Values, spans, text

RANKED = "retrieval"  # its predictions are ranks: always the first is no defect


def one_thing(kind: str, references: Values, predictions: Values) -> bool:
    """Whether predictions are all one while references are not, of values of a task type."""
    if kind == RANKED or len(_things(kind, references)) < 2:
        return False
    return len(_things(kind, predictions)) < 2


def _things(kind: str, values: Values) -> set[str]:
    """What is said, each once; of tags the labels, for every text has bounds of its own."""
    if kind == "tags":
        return {label for value in values for _, _, label in spans(value)}
    if kind == "generation":
        return {text(value) for value in values}
    return {json.dumps(value) for value in values}
