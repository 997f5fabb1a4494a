"""Strategy `full`: every weight moves, with a linear head on each unit's vector.

Devlin et al. 2019, section 3.2; the schedule is their linear one with a warm-up. The head starts
as a logistic regression on the still frozen encoder: with few labels a random one spoils the
encoder before it has learnt itself (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution").
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from steps.core.params import Section
from steps.transfer.strategies import Material, Reading, Scorer

if TYPE_CHECKING:
    from torch import nn

READS_START = True
SEEDED = True


class Settings(Section):
    """`warmup` is a share of the steps."""

    strategy: Literal["full"]
    start: str
    learning_rate: float = Field(gt=0)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    warmup: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)


def fit(material: Material, settings: Settings, start: Path, seed: int, out: Path) -> None:
    import torch
    from torch import nn

    from steps.transfer.encoder import Encoder
    from steps.transfer.heads import save_head
    from steps.transfer.loop import set_dropout

    torch.manual_seed(seed)
    encoder = Encoder(start)
    set_dropout(encoder.model, settings.dropout)
    head = nn.Linear(encoder.width, len(material.classes))
    first = {name: torch.from_numpy(part) for name, part in _first_head(material, start).items()}
    head.load_state_dict(first)
    head.to(encoder.device)
    _train(encoder, head, material, settings, np.random.default_rng(seed))
    encoder.save(out)
    state: dict[str, Any] = {name: part.cpu().numpy() for name, part in head.state_dict().items()}
    save_head(state, out)


@lru_cache(maxsize=1)  # all seeds begin with the same
def _first_head(material: Material, start: Path) -> Any:
    from steps.transfer.encoder import Encoder
    from steps.transfer.heads import fit_frozen

    return fit_frozen(Encoder(start), material, inverse=1.0)


def _train(
    encoder: Any,
    head: "nn.Linear",
    material: Material,
    settings: Settings,
    random: np.random.Generator,
) -> None:
    from torch.nn.functional import cross_entropy

    from steps.core.progress import Bar
    from steps.transfer.loop import autocast, optimiser, update
    from steps.transfer.schedules import share

    batches = [
        batch
        for _ in range(settings.epochs)
        for batch in encoder.batches(material, settings.batch_size, random)
    ]
    named = [*encoder.model.named_parameters(), *head.named_parameters()]
    optim = optimiser(named, settings.learning_rate, settings.weight_decay)
    encoder.model.train()
    with Bar("fine-tuning", len(batches)) as bar:
        for step, (inputs, targets) in enumerate(batches):
            with autocast(encoder.device):
                logits = head(encoder.pool(material.type.POOL, inputs))  # (units, classes)
            loss = cross_entropy(logits.float(), targets)
            rate = share("linear", step, len(batches), settings.warmup) * settings.learning_rate
            update(loss, optim, rate)
            bar.advance(note=f"loss {loss.item():.3f}")


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer.encoder import Encoder
    from steps.transfer.heads import load_head, probabilities

    encoder, head = Encoder(start, weights), load_head(weights)

    def score(reading: Reading, texts: list[str]) -> list[np.ndarray]:
        return [probabilities(head, vectors) for vectors in encoder.vectors(reading, texts)]

    return score
