"""Strategy `lora`: the model stays as it is; small matrices or vectors beside its linear layers are
trained, and merged into them at the end.

LoRA (Hu et al. 2021, arXiv:2106.09685) adds a product of two thin matrices to a layer's weights;
IA3 (Liu et al. 2022, arXiv:2205.05638) rescales what a layer gives. What is saved is an ordinary
network, as quick as any other.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from steps.core.entry import StepError
from steps.transfer.strategies import Material, Scorer, Training

READS_START = True
OUTPUTS = ("classes", "labels", "number", "span", "text", "vector")


class Settings(Training):
    """`rank`: the inner width of the matrices, `alpha`: their product weighs alpha / rank; both
    are for lora alone.
    """

    strategy: Literal["lora"]
    method: Literal["lora", "ia3"] = "lora"
    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)


def seeded(settings: Settings) -> bool:
    return True


def fit(
    material: Material, settings: Settings, start: Path, seed: int, out: Path
) -> dict[str, Any]:
    from steps.transfer.networks import Shape
    from steps.transfer.networks.tuning import begin, decayed, learn

    made = begin(material, settings, Shape(), start, seed)
    tuner = adapt(made, settings)
    moving = [weight.numel() for weight in made.parameters() if weight.requires_grad]
    figures = learn(made, material, settings, decayed(made, settings), seed)
    tuner.merge_and_unload()
    made.save(out)
    return figures | {"parameters_trained": sum(moving)}


def adapt(made: Any, settings: Settings) -> Any:
    """Put adapters beside the linear layers of a network's pretrained model, in place, and freeze
    the rest of it. Return peft's tuner, which can merge them.
    """
    from peft.tuners.ia3 import IA3Config, IA3Model
    from peft.tuners.lora import LoraConfig, LoraModel
    from transformers.pytorch_utils import Conv1D

    model = made.encoder.model if hasattr(made, "encoder") else made.model
    layers = linear_layers(model)
    turned = {type(layer) is Conv1D for layer in layers.values()}  # GPT-2's: (inputs, outputs)
    if len(turned) > 1:
        raise StepError("strategy lora: the model has linear layers of two kinds; take full")
    common = {"target_modules": list(layers), "fan_in_fan_out": turned == {True}}
    if settings.method == "ia3":
        return IA3Model(model, IA3Config(**common, feedforward_modules=[]), "default")
    scale = {"r": settings.rank, "lora_alpha": settings.alpha}
    config = LoraConfig(**common, **scale, lora_dropout=settings.dropout)
    return LoraModel(model, config, "default")


def linear_layers(model: Any) -> dict[str, Any]:
    """The linear layers, but for the one that gives words."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    last = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not last
    }


def load(start: Path, weights: Path) -> Scorer:
    from steps.transfer import networks

    return networks.load(start, weights)
