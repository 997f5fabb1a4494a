"""Strategy `baseline`: logistic regression on plain features, the mark a candidate must beat.

TF-IDF of words and pairs for texts; word forms, shapes, affixes and neighbours for tagging.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from steps.core.params import Section
from steps.transfer.strategies import Material, Reading, Scorer

READS_START = False
SEEDED = False


class Settings(Section):
    strategy: Literal["baseline"]
    start: str
    inverse_regularisation: float = Field(gt=0)


def fit(material: Material, settings: Settings, start: Path, seed: int, out: Path) -> None:
    from steps.transfer.heads import Vocabulary, fit_logistic, save_head

    kind, classes = material.type, material.classes
    rows = [row for example in material.examples for row in kind.features(example["text"])]
    targets = np.concatenate([kind.targets(example, classes) for example in material.examples])
    vocabulary = Vocabulary.fit(rows, kind.TFIDF)
    head = fit_logistic(
        vocabulary.matrix(rows),
        targets.astype(np.int64),
        len(classes),
        settings.inverse_regularisation,
    )
    vocabulary.save(out)
    save_head(head, out)


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer.heads import Vocabulary, load_head, probabilities

    vocabulary, head = Vocabulary.load(weights), load_head(weights)

    def score(reading: Reading, texts: list[str]) -> list[np.ndarray]:
        units = [reading.type.features(text) for text in texts]
        shares = probabilities(head, vocabulary.matrix([row for rows in units for row in rows]))
        return np.split(shares, np.cumsum([len(rows) for rows in units])[:-1])

    return score
