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
    from steps.transfer.heads import fit_logistic, save_head

    reading = Reading(material.type, material.classes, material.max_tokens, batch_size=32)
    texts = [example["text"] for example in material.examples]
    targets = [material.type.targets(example, material.classes) for example in material.examples]
    vectors = np.concatenate(Encoder(start).vectors(reading, texts))  # (units, width)
    centre, spread = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    inverse = settings.inverse_regularisation / vectors.shape[1]
    flat = np.concatenate(targets).astype(np.int64)
    head = fit_logistic((vectors - centre) / spread, flat, len(material.classes), inverse)
    weight = head["weight"] / spread  # the standardisation becomes part of the head
    bias = head["bias"] - weight @ centre
    save_head({"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}, out)


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer.encoder import Encoder
    from steps.transfer.heads import load_head, probabilities

    encoder, head = Encoder(start), load_head(weights)

    def score(reading: Reading, texts: list[str]) -> list[np.ndarray]:
        return [probabilities(head, vectors) for vectors in encoder.vectors(reading, texts)]

    return score
