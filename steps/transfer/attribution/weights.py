"""Linear models of words: a feature adds its weight times its value, which is exact.

A pair of words is shared by both, and what a text has several times by all its places.
"""

from pathlib import Path

import numpy as np

from steps.core.files import read_json
from steps.tasks import task_type
from steps.transfer.attribution import Explanation, Mark, Question
from steps.transfer.attribution.places import classes_of, shortfall, spread, summed, units_of
from steps.transfer.networks.heads import load_head
from steps.transfer.plain.vocabulary import Vocabulary

METHOD = "weights"


class Linear:
    """A bundle's linear model of words; of units that are weighed together each by itself."""

    def __init__(self, bundle: Path) -> None:
        about = read_json(bundle / "candidate.json")
        self.kind, self.classes = task_type(about["type"]), about["classes"]
        self.vocabulary, self.head = Vocabulary.load(bundle), load_head(bundle)
        self.names = list(self.vocabulary.number)

    def __call__(self, question: Question) -> Explanation:
        units = units_of(self.kind, question)
        classes = classes_of(self.kind, question.label, self.classes)
        if not units or not classes:
            return Explanation(METHOD, [], None)
        rows = self.kind.features(question.item)
        found: list[Mark] = []
        whole = 0.0
        for unit in units:
            marks, part = spread(self.kind, question.item, unit, self._added(rows[unit], classes))
            found, whole = found + marks, whole + part / len(units)
        summed_up = summed(found, len(units))
        return Explanation(METHOD, summed_up, shortfall(summed_up, whole))

    def _added(self, row: dict[str, float], classes: list[int]) -> dict[str, float]:
        """What each feature adds to the score of the class that has the highest of these."""
        values = self.vocabulary.matrix([row])
        scores = np.asarray(values @ self.head["weight"].T)[0] + self.head["bias"]
        weights = self.head["weight"][max(classes, key=lambda number: scores[number])]
        pairs = zip(values.indices, values.data, strict=True)
        return {self.names[n]: float(value * weights[n]) for n, value in pairs}
