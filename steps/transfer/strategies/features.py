"""Strategy `features`: the encoder stays frozen; a head reads its last layer or a mix of all.

The mix is ELMo's (Peters et al. 2018, "Deep contextualized word representations"), a BiLSTM-CRF on
frozen vectors is Flair's way to tag words (Akbik et al. 2018, "Contextual String Embeddings for
Sequence Labeling"). The encoder reads each text once, whatever the seeds and epochs. Retrieval
compares the frozen vectors as they are.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from steps.core.entry import StepError
from steps.transfer.strategies import Material, Scorer, Training

READS_START = True
OUTPUTS = ("classes", "labels", "number", "vector")


class Settings(Training):
    """`layers`, `head`: "last" and "linear" are a logistic regression (or ridge) fitted at once, of
    strength `inverse_regularisation`, which no seed changes; the others are trained by steps, and
    the knobs of steps are theirs alone. `lstm`: its width, a direction. `wide`: plain features are
    read beside the encoder's vectors, as by `full`.
    """

    strategy: Literal["features"]
    layers: Literal["last", "mix"] = "last"
    head: Literal["linear", "crf", "bilstm_crf"] = "linear"
    wide: bool = False
    inverse_regularisation: float = Field(10.0, gt=0)
    lstm: int = Field(128, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    epochs: int = Field(20, ge=1)
    batch_tokens: int = Field(1024, ge=1)


def seeded(settings: Settings) -> bool:
    return settings.layers == "mix" or settings.head != "linear"


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    if material.type.OUTPUT == "vector":
        return _untrained(material, settings, start, out)
    if seeded(settings):
        return _trained(material, settings, start, seed, out)
    from steps.transfer import networks
    from steps.transfer.networks.heads import fit_first

    shape = _shape(material, settings)
    made = networks.network(material.type.OUTPUT).build(start, material, shape)
    head = fit_first(made, material, settings.inverse_regularisation)
    made.load_state_dict(head, strict=False)
    made.save(out)
    return {}


def _untrained(material: Material, settings: Settings, start: Path, out: Path) -> dict[str, Any]:
    from steps.transfer import networks

    shape = _shape(material, settings)
    networks.network(material.type.OUTPUT).build(start, material, shape).save(out)
    return {}


def _trained(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    import torch

    from steps.transfer import networks
    from steps.transfer.loop import set_dropout
    from steps.transfer.networks.frozen import rows_of, score_of
    from steps.transfer.networks.heads import fit_first
    from steps.transfer.networks.tuning import class_weights, decayed, tune

    torch.manual_seed(seed)
    made = networks.network(material.type.OUTPUT).build(start, material, _shape(material, settings))
    rows = rows_of(made, material)  # as all that follows reads them
    if made.lstm:
        made.field.begin([row.targets for row in rows])
    else:
        made.load_state_dict(material.once("head", lambda: fit_first(made, material)), strict=False)
    set_dropout(made, settings.dropout)
    if settings.class_weights:
        made.weights = class_weights(material).to(made.encoder.device)
    groups, score = decayed(made, settings), score_of(made, material)
    return tune(made, material, settings, groups, (seed, out), score=score)


def _shape(material: Material, settings: Settings) -> Any:
    from steps.transfer.networks import Shape

    crf, mixed = settings.head != "linear", settings.layers == "mix"
    if crf and not (material.type.OUTPUT == "classes" and material.type.LEVEL == "words"):
        raise StepError(
            f"head {settings.head} reads the words of a text one after the other, and a task of"
            f" type {material.task} has none to label; take head linear, or name other `tasks`"
        )
    width = settings.lstm if settings.head == "bilstm_crf" else 0
    return Shape(frozen=True, mix=mixed, lstm=width, crf=crf, wide=settings.wide)


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer import networks

    return networks.load(start, weights)
