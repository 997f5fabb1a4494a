"""Strategy `full`: every weight moves, with a linear head on each unit's vector.

Devlin et al. 2019, section 3.2; the schedule is their linear one with a warm-up. The head starts
as a logistic regression on the still frozen encoder: with few labels a random one spoils the
encoder before it has learnt itself (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution").
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from steps.transfer.strategies import Material, Scorer, Training

READS_START = True
OUTPUTS = ("classes", "labels", "number", "span", "text", "vector")


class Settings(Training):
    """`layer_decay`: a layer's learning rate is so many times that of the one above it (Howard and
    Ruder 2018, 3.1). `reinitialised_layers`, `dropped_layers`: of the last. `crf`: neighbouring
    words' classes are weighed together. `wide`: plain features are read beside the encoder's (Cheng
    et al. 2016, arXiv:1606.07792). `beams`: a text that is written is the best of so many.
    `pooling`: a text's vector; the first token's is what transformers' own heads read.
    """

    strategy: Literal["full"]
    layer_decay: float = Field(1.0, gt=0, le=1)
    reinitialised_layers: int = Field(0, ge=0)
    dropped_layers: int = Field(0, ge=0)
    crf: bool = False
    wide: bool = False
    beams: int = Field(1, ge=1)
    pooling: Literal["mean", "first"] = "mean"


def seeded(settings: Settings) -> bool:
    return True


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    from steps.transfer.networks import Shape
    from steps.transfer.networks.tuning import begin, decayed, tune

    given = {name: getattr(settings, name) for name in ("crf", "wide", "beams")}
    shape = Shape(dropped=settings.dropped_layers, pool=settings.pooling, **given)
    made = begin(material, settings, shape, start, seed, settings.reinitialised_layers)
    groups = decayed(made, settings, settings.layer_decay)
    return tune(made, material, settings, groups, (seed, out))


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer import networks

    return networks.load(start, weights)
