"""Training objectives: what is hidden, what is predicted, and where logits are computed at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from steps.transfer.packing import Blocks

CHUNK = 512  # positions whose logits are held at once


@dataclass(frozen=True)
class Masker:
    """Masked language modelling, 80/10/10 (Devlin et al. 2019, section 3.1)."""

    rate: float
    mask_id: int
    vocabulary: int
    special: frozenset[int]

    def __call__(
        self, blocks: Blocks, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (inputs, picked), both (blocks, block_tokens); special tokens are never picked."""
        tokens = blocks.tokens.astype(np.int64)
        free = (blocks.segments > 0) & ~np.isin(tokens, list(self.special))
        picked = free & (random.random(tokens.shape) < self.rate)
        how = random.random(tokens.shape)
        noise = random.integers(0, self.vocabulary, tokens.shape)
        changed = np.where(how < 0.8, self.mask_id, np.where(how < 0.9, noise, tokens))
        return np.where(picked, changed, tokens), picked


class PickedLogits:
    """A masked language model that computes logits at the picked positions alone.

    The first module after the encoder gets the picked rows of its hidden states; no model's own
    code is touched, so that any *ForMaskedLM whose head works position by position will do.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        base = model.base_model
        self.heads = [child for child in model.children() if child is not base]

    def __call__(self, inputs: dict[str, Tensor], picked: Tensor) -> Tensor:
        """picked: (blocks, block_tokens) bool -> logits (picked, vocabulary)."""
        with self._gather(picked):
            logits: Tensor = self.model(**inputs).logits
        return logits

    @contextmanager
    def _gather(self, picked: Tensor) -> Iterator[None]:
        def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
            hidden = given[0]
            if hidden.shape[:2] != picked.shape:
                return None  # a later module of the head: the rows are gathered already
            return (hidden[picked], *given[1:])

        hooks = [head.register_forward_pre_hook(before) for head in self.heads]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def model_inputs(blocks: Blocks, ids: np.ndarray, model: nn.Module) -> dict[str, Tensor]:
    """Make a model's arguments of packed blocks: attention inside each piece, positions restart."""
    where = next(model.parameters()).device
    mask = torch.from_numpy(blocks.allowed()).unsqueeze(1).to(where)
    if model.config._attn_implementation == "eager":  # the others take booleans
        mask = torch.zeros(mask.shape, device=where).masked_fill_(~mask, torch.finfo().min)
    found = {"input_ids": torch.from_numpy(ids).to(where), "attention_mask": mask}
    if has_positions(model):
        shift = first_position(model)
        found["position_ids"] = torch.from_numpy(blocks.positions() + shift).to(where)
    return found


def has_positions(model: nn.Module) -> bool:
    """Whether the model takes position_ids."""
    import inspect

    return "position_ids" in inspect.signature(model.forward).parameters


def first_position(model: nn.Module) -> int:
    """RoBERTa and its kin count positions from the padding's number on."""
    padding = getattr(getattr(model.base_model, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def loss_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropy in float32; logits (picked, vocabulary), targets (picked,)."""
    parts = zip(logits.split(CHUNK), targets.split(CHUNK), strict=True)
    return torch.stack([cross_entropy(a.float(), b, reduction="sum") for a, b in parts]).sum()


def held_out_loss(
    lm: PickedLogits, blocks: Blocks, masker: Callable[..., Any], seed: int, batch: int
) -> float:
    """Mean cross-entropy in nats per masked token; each block's mask is fixed by seed and place,
    so that the figure depends neither on the batch nor on the order.
    """
    from steps.transfer.loop import autocast

    total, count = 0.0, 0
    lm.model.eval()
    where = next(lm.model.parameters()).device
    with torch.inference_mode(), autocast(where):
        for at in range(0, len(blocks), batch):
            part = blocks[np.arange(at, min(at + batch, len(blocks)))]
            masks = [
                masker(part[np.array([n])], np.random.default_rng([seed, at + n]))
                for n in range(len(part))
            ]
            ids, picked = (np.concatenate(arrays) for arrays in zip(*masks, strict=True))
            chosen = torch.from_numpy(picked).to(where)
            targets = torch.from_numpy(part.tokens.astype(np.int64)).to(where)[chosen]
            total += loss_sum(lm(model_inputs(part, ids, lm.model), chosen), targets).item()
            count += len(targets)
    return total / max(1, count)
