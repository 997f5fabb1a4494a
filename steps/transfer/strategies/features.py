"""Strategy `features`: the encoder stays frozen; logistic regression on its last layer."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from steps.core.params import Section
from steps.transfer.strategies import Material, Reading, Scorer

READS_START = True
SEEDED = False


class Settings(Section):
    strategy: Literal["features"]
    start: str
    inverse_regularisation: float = Field(gt=0)


def fit(material: Material, settings: Settings, start: Path, seed: int, out: Path) -> None:
    from steps.transfer.encoder import Encoder
    from steps.transfer.heads import fit_frozen, save_head

    save_head(fit_frozen(Encoder(start), material, settings.inverse_regularisation), out)


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer.encoder import Encoder
    from steps.transfer.heads import load_head, probabilities

    encoder, head = Encoder(start), load_head(weights)

    def score(reading: Reading, texts: list[str]) -> list[np.ndarray]:
        return [probabilities(head, vectors) for vectors in encoder.vectors(reading, texts)]

    return score
