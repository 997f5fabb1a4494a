"""Strategy `fewshot`: for 8 to 64 labels a class; pairs of examples tune the encoder, a logistic
regression on its vectors is the head.

Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts" (SetFit), arXiv:2209.11055. The
defaults are SetFit's: n examples make about n * n pairs, of which one epoch is much.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from steps.core.entry import StepError
from steps.transfer.strategies import Material, Scorer, Training

READS_START = True
OUTPUTS = ("classes",)
LEVELS = ("text",)


class Settings(Training):
    """`pairs`: of one class, at most; there are as many with another. `class_weights`: pairs are
    drawn of each class alike.
    """

    strategy: Literal["fewshot"]
    learning_rate: float = Field(2e-5, gt=0)
    epochs: int = Field(1, ge=1)
    batch_tokens: int = Field(2048, ge=1)
    pairs: int = Field(500, ge=1)
    inverse_regularisation: float = Field(1.0, gt=0)
    class_weights: Literal[False] = False


def seeded(settings: Settings) -> bool:
    return True


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    from steps.transfer import networks
    from steps.transfer.loop import set_dropout
    from steps.transfer.networks.contrast import Siamese, pairs
    from steps.transfer.networks.training import train
    from steps.transfer.networks.tuning import decayed, plan_for

    _require_texts(material)
    made = networks.network(material.type.OUTPUT).build(start, material, networks.Shape())
    set_dropout(made, settings.dropout)
    rows = material.once("rows", lambda: made.rows(material.examples, learn=True))
    classes = np.array([int(row.targets[0]) for row in rows])
    chosen = pairs(classes, [row.size for row in rows], settings.pairs, seed)
    plan = plan_for(made, material, settings, seed)
    plan = replace(plan, score=_score_of(made, material, settings.inverse_regularisation))
    room = material.room / f"seed-{seed}"
    found = train(Siamese(made, rows), chosen, decayed(made, settings), plan, room)
    _fit_head(made, material, settings.inverse_regularisation)
    made.save(out)
    return vars(found) | {"pairs": len(chosen)}


def _require_texts(material: Material) -> None:
    if material.type.LEVEL not in LEVELS:
        raise StepError(
            f"strategy 'fewshot' is for labels of whole texts, and {material.task} labels words;"
            " take another strategy, or name the tasks that the recipe is for, `tasks: [...]`"
        )


def _fit_head(made: Any, material: Material, inverse: float) -> None:
    from steps.transfer.networks.heads import fit_first

    made.load_state_dict(fit_first(made, material, inverse), strict=False)


def _score_of(made: Any, material: Material, inverse: float) -> Any:
    """How good the encoder is on validation, with a head that is fitted on it as it stands."""
    from steps.transfer.networks.tuning import score_of

    score = score_of(made, material)
    if score is None:
        return None

    def fitted() -> float:
        _fit_head(made, material, inverse)
        return float(score())

    return fitted


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer import networks

    return networks.load(start, weights)
