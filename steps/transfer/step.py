"""One step of adaptation: bfloat16 arithmetic over float32 masters, summed over parts and ranks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steps.transfer import ranks
from steps.transfer.loop import device, half, optimiser
from steps.transfer.losses import PickedLogits, loss_sum
from steps.transfer.objectives import Batch

NORM = 1.0  # at which a gradient is cut


class Weights:
    """A model whose weights are computed with in bfloat16, where the processor has it, and kept in
    float32. Without it both are the same tensors.

    Gradients are added up in float32 as the backward pass makes them, and freed.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        self.model, self.dtype = model, dtype
        self.named = dict(model.named_parameters())
        self.masters = {name: weight.detach() for name, weight in self.named.items()}
        if dtype is not None:
            for name, weight in self.named.items():
                weight.data = weight.data.to(dtype)  # buffers, such as angles, stay exact
                weight.register_post_accumulate_grad_hook(self._keep(name))

    def _keep(self, name: str) -> Any:
        master = self.masters[name]

        def keep(weight: Tensor) -> None:
            if weight.grad is not None:
                if master.grad is None:
                    master.grad = weight.grad.float()
                else:
                    master.grad += weight.grad
                weight.grad = None

        return keep

    def moving(self) -> dict[str, Tensor]:
        """The float32 tensors that an optimiser moves: those of weights that are not frozen."""
        if self.dtype is None:
            return {name: weight for name, weight in self.named.items() if weight.requires_grad}
        chosen = {n: self.masters[n] for n, weight in self.named.items() if weight.requires_grad}
        return {name: master.requires_grad_() for name, master in chosen.items()}

    def clip(self, moving: Sequence[Tensor]) -> float:
        """Sum the gradients over all ranks and cut their norm; return what it was."""
        ranks.add_up([weight.grad for weight in moving if weight.grad is not None])
        return float(nn.utils.clip_grad_norm_(moving, NORM))

    def publish(self) -> None:
        """Bring what an optimiser has moved into the model."""
        if self.dtype is not None:
            with torch.no_grad():
                moved = self.moving()
                torch._foreach_copy_([self.named[n].data for n in moved], list(moved.values()))

    def state(self) -> dict[str, Tensor]:
        """The model's state in float32."""
        aliases = {w.data_ptr(): self.masters[name].detach() for name, w in self.named.items()}
        state = self.model.state_dict()
        return {name: aliases.get(part.data_ptr(), part) for name, part in state.items()}

    def gathered(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state as a checkpoint keeps it."""
        return state

    def scattered(self, state: dict[str, Any], moving: Sequence[Tensor]) -> dict[str, Any]:
        """The reverse; `moving` are the optimiser's tensors, in its order."""
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(state[name])
                if self.dtype is not None:
                    self.named[name].data.copy_(master)

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Compute in float32 for a while: what is measured must not depend on the batch."""
        if self.dtype is None:
            yield
            return
        for name, weight in self.named.items():
            weight.data = self.masters[name].detach()
        try:
            yield
        finally:
            for weight in self.named.values():
                weight.data = weight.data.to(self.dtype)

    @contextmanager
    def complete(self) -> Iterator[nn.Module]:
        """Give the model, to be saved: whole and in float32, on the first rank."""
        with self.exact():
            yield self.model


class Stepper:
    """Moves weights down the gradient of an objective's loss."""

    def __init__(self, weights: Weights, learning_rate: float) -> None:
        self.weights = weights
        self.moving = weights.moving()
        self.optimiser = optimiser(self.moving.items(), learning_rate, weight_decay=0.01)
        self.lm = PickedLogits(weights.model)

    def step(self, parts: list[Batch], rate: float) -> tuple[float, float]:
        """Take one step; `parts` are this rank's. Return the mean loss over all ranks' targets,
        and the gradient's norm; where one of them is no number, nothing has moved.
        """
        where = next(self.weights.model.parameters()).device
        (count,) = ranks.total([sum(len(part.targets) for part in parts)], where)
        losses = [self._backward(part, max(1.0, count)) for part in parts]
        (loss,) = ranks.total([sum(losses)], where)
        for weight in self.moving.values():
            if weight.grad is None:  # this rank had no part for it
                weight.grad = torch.zeros_like(weight)
        norm = self.weights.clip(list(self.moving.values()))
        if np.isfinite(loss) and np.isfinite(norm):
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.weights.publish()
        self.optimiser.zero_grad(set_to_none=False)  # kept: their memory would be holes in the heap
        return loss, norm

    def _backward(self, part: Batch, count: float) -> float:
        inputs, picked, targets = tensors(part, self.weights.model)
        loss = loss_sum(self.lm(inputs, picked), targets) / count
        loss.backward()
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        return self.weights.gathered(self.optimiser.state_dict())

    def load(self, state: dict[str, Any]) -> None:
        moving = [weight for group in self.optimiser.param_groups for weight in group["params"]]
        self.optimiser.load_state_dict(self.weights.scattered(state, moving))


def tensors(batch: Batch, model: nn.Module) -> tuple[dict[str, Any], Tensor, Tensor]:
    """Bring a batch to the model's device, masks and weights of attention in its own type."""
    first = next(model.parameters())
    eager = model.config._attn_implementation == "eager"

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: convert(part) for name, part in value.items()}
        tensor = torch.from_numpy(value).to(first.device)
        if value.dtype == np.float32:
            return tensor.to(first.dtype)
        if value.dtype == np.bool_ and eager:  # the others take booleans
            least = torch.finfo(torch.bfloat16).min  # which weights may be gathered in
            return torch.zeros(tensor.shape, dtype=first.dtype, device=first.device).masked_fill_(
                ~tensor, least
            )
        return tensor

    picked = torch.from_numpy(batch.picked).to(first.device)
    return convert(batch.inputs), picked, torch.from_numpy(batch.targets).to(first.device)


def precision(model: nn.Module) -> torch.dtype | None:
    """bfloat16 where the device multiplies it fast."""
    if model.config.model_type == "xlnet":
        return None  # it makes its positions in float32, and multiplies them with its weights
    return half(device())
