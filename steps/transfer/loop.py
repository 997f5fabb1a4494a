"""What every training loop shares: device, precision, optimiser, one step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half(where: torch.device) -> torch.dtype | None:
    """bfloat16 where the hardware multiplies it fast (CUDA, AMX, AVX512-BF16), else None."""
    if where.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else None


def autocast(where: torch.device) -> torch.autocast:
    """Compute in bfloat16 where that is fast; weights stay in float32."""
    dtype = half(where)
    return torch.autocast(where.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def settle(model: nn.Module) -> None:
    """Keep weights as `autocast` casts them, for a model that only answers: the numbers stay the
    same, and inference mode, which remembers no cast, need not cast them for each batch.
    """
    from transformers.pytorch_utils import Conv1D

    dtype = half(device())
    layers = [one for one in model.modules() if isinstance(one, (nn.Linear, Conv1D))]
    for layer in layers if dtype else ():
        for name, weight in list(layer.named_parameters(recurse=False)):
            cast = weight.detach().to(dtype)  # its own: an embedding may share the weight
            setattr(layer, name, nn.Parameter(cast, requires_grad=False))


def set_dropout(model: nn.Module, share: float) -> None:
    """Give every dropout of the model the same share; some models hold theirs as plain numbers."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(module, name, share)


def optimiser(
    named: Iterable[tuple[str, nn.Parameter]], learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); biases and norms are not decayed."""
    moving = [(name, weight) for name, weight in named if weight.requires_grad]
    decayed = [weight for _, weight in moving if weight.ndim > 1]
    others = [weight for _, weight in moving if weight.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def update(loss: Tensor, optim: torch.optim.Optimizer, rate: float) -> None:
    """One step down the gradient, its norm cut at 1."""
    for group in optim.param_groups:
        group["lr"] = rate
    loss.backward()
    weights = [weight for group in optim.param_groups for weight in group["params"]]
    nn.utils.clip_grad_norm_(weights, 1.0)
    optim.step()
    optim.zero_grad(set_to_none=True)
