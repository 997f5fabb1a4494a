"""Fully sharded data parallel (torch's FSDP2): each rank keeps a part of every weight.

For models that do not fit one device with their gradients and moments. `accelerate launch
--use_fsdp` asks for it (ranks.sharded); Zhao et al. 2023, arXiv:2304.11277.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from steps.core.entry import StepError
from steps.transfer import ranks
from steps.transfer.loop import device
from steps.transfer.step import NORM, Weights, precision


class Sharded(Weights):
    """A model whose weights are kept in float32, a part on each rank, and gathered layer by layer,
    in bfloat16 where the processor has it, while they are computed with.

    Its methods are called on all ranks alike. What it gives to a checkpoint is whole, on the first
    rank alone, and the same as without sharding, so that either goes on from the other's.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        self.hollow = hollow(model)
        super().__init__(shard(model, dtype), None)

    def moving(self) -> dict[str, Tensor]:
        for module in self.model.modules():
            if isinstance(module, FSDPModule):  # takes note of which weights are frozen by now
                module.unshard()
                module.reshard()
        return super().moving()

    def clip(self, moving: Sequence[Tensor]) -> float:
        """Gradients are summed already, as the backward pass makes them."""
        norm = nn.utils.clip_grad_norm_(moving, NORM)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def state(self) -> dict[str, Any]:
        """The model's state in float32, tied weights once; None but on the first rank."""
        named = dict(self.model.named_parameters(remove_duplicate=False))
        wholes = {weight: gathered(weight.detach()) for weight in self.named.values()}
        parts = self.model.state_dict()
        return {n: wholes[named[n]] if n in named else part for n, part in parts.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.named.items():
                weight.copy_(scattered(state[name], weight))

    def gathered(self, state: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = gathered(state)
        return found

    def scattered(self, state: dict[str, Any], moving: Sequence[Tensor]) -> dict[str, Any]:
        moments = {
            place: {n: scattered(v, moving[place]) if v.ndim else v for n, v in values.items()}
            for place, values in state["state"].items()
        }
        return state | {"state": moments}

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Compute in float32 for a while, by another model of the same parts: FSDP gathers for good
        in the precision, and under the grad mode, in which it does so first.
        """
        trained = self.model
        self.model = shard(hollow(self.hollow), None)
        self.model.load_state_dict(trained.state_dict(), assign=True)
        try:
            yield
        finally:
            self.model = trained

    @contextmanager
    def complete(self) -> Iterator[nn.Module]:
        state, model = self.state(), hollow(self.hollow)
        if ranks.first():
            model.load_state_dict(state, assign=True)
        yield model


def weights(model: nn.Module) -> Weights:
    """Take care of a model's weights, as the launcher asks for."""
    if ranks.sharded():
        return Sharded(model, precision(model))
    return Weights(model, precision(model))


def shard(model: nn.Module, dtype: torch.dtype | None) -> Any:
    """Let each layer, and then the rest, be gathered as one; gradients are summed in float32."""
    # Layers whose output is a view, of which one warns: none of tests/families.py changes it.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(device().type, (ranks.world(),))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in [*layers(model), model]:
        made: Any = fully_shard(module, mesh=mesh, mp_policy=policy)
        # a loss is divided by the targets of all ranks, so that its gradients are to be summed
        made.set_gradient_divide_factor(1.0)
        made.set_force_sum_reduction_for_comms(True)  # gloo has no other
    return model


def layers(model: nn.Module) -> Iterator[nn.Module]:
    """The modules in the outermost lists of modules: a transformer's layers."""
    for child in model.children():
        inside = child.children() if isinstance(child, nn.ModuleList) else ()
        for layer in inside:
            if next(layer.parameters(), None) is not None:
                yield layer
        if not isinstance(child, nn.ModuleList):
            yield from layers(child)


def hollow(model: nn.Module) -> nn.Module:
    """Copy a model without its weights; the buffers are shared."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for weight in model.parameters():
        memo[id(weight)] = nn.Parameter(weight.detach().to("meta"), weight.requires_grad)
    return copy.deepcopy(model, memo)


def gathered(state: Any) -> Any:
    """Make sharded tensors whole, in what may hold some; None takes their place but on the first
    rank.
    """
    if isinstance(state, DTensor):
        whole = state.full_tensor()
        return whole.cpu() if ranks.first() else None
    if isinstance(state, dict):
        return {name: gathered(part) for name, part in state.items()}
    return state


def scattered(whole: Tensor, like: Any) -> Tensor:
    """Take this rank's part of a tensor that every rank has whole."""
    here = whole.to(like.device)
    return distribute_tensor(here, like.device_mesh, like.placements, src_data_rank=None)


def require_even(blocks: int, block_tokens: int) -> None:
    """StepError where a step's blocks cannot be shared out: ranks gather weights together."""
    world = ranks.world()
    if blocks % world:
        least, most = (n * world * block_tokens for n in (blocks // world, blocks // world + 1))
        fitting = f"{least} or {most}" if least else str(most)
        raise StepError(
            f"a step of {blocks} blocks of {block_tokens} tokens cannot be shared out evenly among"
            f" {world} ranks, which FSDP needs; let batch_tokens be {fitting}, or launch a number"
            f" of processes that {blocks} is a multiple of"
        )
