"""Objectives of continued pretraining: a name -> the module that keeps the promises below.

    FAMILIES                       the families of models (steps.transfer.families) it is meant for
    objective(family, rate, whole_words) -> Objective

An Objective turns blocks into what a model is given and what it must predict. All chance comes
from a generator a block, so that a block reads the same in any batch and on any rank.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steps.core.entry import StepError
from steps.core.params import Adaptation, choose
from steps.transfer.families import Family
from steps.transfer.packing import Blocks

OBJECTIVES = {
    "mlm": "steps.transfer.objectives.mlm",
    "clm": "steps.transfer.objectives.clm",
    "plm": "steps.transfer.objectives.plm",
    "denoise": "steps.transfer.objectives.denoise",
    "infill": "steps.transfer.objectives.infill",
}


@dataclass(frozen=True)
class Batch:
    """inputs: a model's arguments. picked: (predicted,) places in the flattened (rows, tokens)
    hidden states at which logits are computed. targets: (predicted,) token ids.
    """

    inputs: dict[str, np.ndarray]
    picked: np.ndarray
    targets: np.ndarray


Objective = Callable[[Blocks, Sequence[np.random.Generator]], Batch]


def objective(family: Family, params: Adaptation) -> tuple[str, Objective]:
    """Return the objective and its name; `auto` is the one of the model's family."""
    name = family.objective if params.objective == "auto" else params.objective
    module = importlib.import_module(choose(name, OBJECTIVES, "objective"))
    if family.kind not in module.FAMILIES:
        raise StepError(
            f"objective {name} is for {' and '.join(module.FAMILIES)} models; {family.start} is"
            f" {family.kind}: set objective: {family.objective}, or auto"
        )
    return name, module.objective(family, params.mask_rate, params.whole_words)
