"""Strategy `gradual`: full fine-tuning from the head down, one more layer at each epoch.

ULMFiT (Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification"):
gradual unfreezing (3.3), smaller learning rates for lower layers and a slanted triangular schedule
(3.1), and, of a text, the last, the mean and the largest vector side by side (3.3). With fewer
epochs than layers the lowest layers never move.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from steps.transfer.strategies import Material, Scorer, Training

READS_START = True
OUTPUTS = ("classes", "labels", "number", "span", "text", "vector")


class Settings(Training):
    """`warmup` is the paper's cut_frac, the share of the steps in which the rate rises; `ratio`: so
    many times smaller is the lowest rate than the highest. `layer_decay`: as in `full`.
    """

    strategy: Literal["gradual"]
    layer_decay: float = Field(1 / 2.6, gt=0, le=1)
    ratio: float = Field(32.0, gt=1)


def seeded(settings: Settings) -> bool:
    return True


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    from steps.transfer.networks import Shape
    from steps.transfer.networks.tuning import begin, decayed, tune

    whole = getattr(material.type, "LEVEL", "words") == "text"
    shape = Shape(pool="concat") if whole else Shape()
    made = begin(material, settings, shape, start, seed)
    groups = decayed(made, settings, settings.layer_decay)
    rate = partial(slanted, rise=settings.warmup, ratio=settings.ratio)
    where = (seed, out)
    return tune(made, material, settings, groups, where, rate=rate, before_epoch=thawing(made))


def thawing(made: Any) -> Callable[[int], None]:
    """Return what, before an epoch, lets its highest layers move and no others."""
    layers = [weights for weights in reversed(made.groups()) if weights]

    def thaw(epoch: int) -> None:
        for depth, weights in enumerate(layers):
            for weight in weights:
                weight.requires_grad_(depth <= epoch)

    return thaw


def slanted(step: int, steps: int, rise: float, ratio: float) -> float:
    """The slanted triangular schedule (3.1, equation 3): the share of the peak rate at a step."""
    cut = max(1, int(steps * rise))
    height = step / cut if step < cut else 1 - (step - cut) / max(1, steps - cut)
    return (1 + height * (ratio - 1)) / ratio


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer import networks

    return networks.load(start, weights)
