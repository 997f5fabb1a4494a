"""Logits where they are needed, and their cross-entropy with its gradient made in place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 64  # of logits that are worked on at once: they stay in the cache
# Makers of logits that do not need them again, so that the gradient may take their place
FORGETFUL = ("Addmm", "Mm", "UnsafeView", "View", "Add", "Select", "ReshapeAlias", "Squeeze")


class PickedLogits:
    """A language model that computes logits at the picked positions alone.

    The first module of the head gets the picked rows of the hidden states; no model's own code is
    touched. Where the last layer is BERT's, all of it that follows the attention gets no more than
    these rows either: it works position by position, and nobody reads the others.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        base = model.base_model
        heads = [child for child in model.children() if child is not base]
        self.heads = heads if base is not model else [model.get_output_embeddings()]
        layers = getattr(getattr(base, "encoder", None), "layer", None)
        last = getattr(getattr(layers[-1], "attention", None), "output", None) if layers else None
        inside = last is not None and hasattr(layers[-1], "intermediate")
        self.early = [last] if inside and _post_norm(last) else []

    def __call__(self, inputs: dict[str, Any], picked: Tensor) -> Tensor:
        """picked: (predicted,) places in the flattened rows -> logits (predicted, vocabulary)."""
        with self._gather(picked):
            logits: Tensor = self.model(**inputs).logits
        return logits[0]

    @contextmanager
    def _gather(self, picked: Tensor) -> Iterator[None]:
        done = False

        def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
            nonlocal done
            if done:
                return None  # a later module: the rows are gathered already
            done = True
            return tuple(_rows(a, picked) if isinstance(a, Tensor) else a for a in given)

        hooks = [module.register_forward_pre_hook(before) for module in self.early + self.heads]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _post_norm(output: nn.Module) -> bool:
    """Whether this is BERT's (dense, dropout, residual, norm), which works row by row."""
    return {name for name, _ in output.named_children()} == {"dense", "LayerNorm", "dropout"}


def _rows(hidden: Tensor, picked: Tensor) -> Tensor:
    return hidden.flatten(0, 1).index_select(0, picked).unsqueeze(0)


class _CrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropy in float32; the gradient is made at once, in the logits' memory."""

    @staticmethod
    def forward(context: Any, logits: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        for part, target in zip(logits.split(ROWS), targets.split(ROWS), strict=True):
            exact = part.float()
            exact = exact - exact.amax(dim=1, keepdim=True)
            hit = exact.gather(1, target[:, None])
            exact.exp_()
            sums = exact.sum(dim=1, keepdim=True)
            total += (sums.log() - hit).sum()
            exact /= sums
            exact.scatter_add_(1, target[:, None], torch.full_like(hit, -1.0))
            part.copy_(exact)
        context.gradient = logits
        return total.float()

    @staticmethod
    def backward(context: Any, *above: Any) -> tuple[Tensor, None]:
        gradient, context.gradient = context.gradient, None
        return gradient.mul_(above[0].to(gradient.dtype)), None


def loss_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropy; logits (predicted, vocabulary), targets (predicted,).

    Where a gradient will be asked for, the logits are used up.
    """
    if not logits.requires_grad:
        parts = zip(logits.split(ROWS), targets.split(ROWS), strict=True)
        sums = [nn.functional.cross_entropy(a.float(), b, reduction="sum") for a, b in parts]
        return (
            torch.stack(sums).double().sum() if sums else logits.new_zeros((), dtype=torch.double)
        )
    own = logits
    if not str(logits.grad_fn.name()).startswith(FORGETFUL):
        own = logits.clone()
    found: Tensor = _CrossEntropy.apply(own, targets)  # type: ignore[no-untyped-call]
    return found
