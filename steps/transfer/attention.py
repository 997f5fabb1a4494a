"""Attention inside the pieces of a row, by flash attention's kernel for runs of any length.

A model gets no mask of pairs but the bounds of the pieces, shaped as one: (1, 1, 1, runs + 1).
The kernel is CUDA's and half precision's; elsewhere the same is computed from a mask of pairs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

NAME = "outplant_runs"
HALVES = (torch.bfloat16, torch.float16)


def use() -> str:
    """Make the attention known to transformers; return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    **settings: Any,
) -> tuple[Tensor, None]:
    """query, key, value: (rows, heads, tokens, head size) -> (rows, tokens, heads, head size)."""
    bounds = attention_mask.flatten()
    window = settings.get("sliding_window")  # counts the token itself, as transformers does
    causal = bool(getattr(module, "is_causal", False))
    left = -1 if window is None else window - 1
    reach = (left, 0 if causal else left)
    scale = settings.get("scaling")
    if query.is_cuda and query.dtype in HALVES:
        return _kernel((query, key, value), bounds, reach, scale), None
    mask = pairs(bounds, query.shape[0], query.shape[2], reach)
    shared = key.shape[1] != query.shape[1]
    found = scaled_dot_product_attention(
        query, key, value, mask[:, None], scale=scale, enable_gqa=shared
    )
    return found.transpose(1, 2), None


def _kernel(
    given: tuple[Tensor, Tensor, Tensor],
    bounds: Tensor,
    reach: tuple[int, int],
    scale: float | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    rows, heads, tokens, size = given[0].shape
    flat = [part.transpose(1, 2).flatten(0, 1) for part in given]  # (rows x tokens, heads, size)
    found: Tensor = varlen_attn(
        *flat,
        bounds,
        bounds,
        tokens,
        tokens,
        scale=scale,
        window_size=reach,
        enable_gqa=flat[1].shape[1] != heads,
    )
    return found.view(rows, tokens, heads, size)


def pairs(bounds: Tensor, rows: int, tokens: int, reach: tuple[int, int]) -> Tensor:
    """Who looks at whom: (rows, tokens, tokens) bool, from the bounds of the flattened pieces."""
    flat = torch.arange(rows * tokens, device=bounds.device)
    run = torch.bucketize(flat, bounds, right=True, out_int32=True).view(rows, tokens)
    place = torch.arange(tokens, device=bounds.device)
    back = place[:, None] - place[None, :]  # how far back the other token is
    near = torch.ones_like(back, dtype=torch.bool)
    if reach[0] >= 0:
        near &= back <= reach[0]
    if reach[1] >= 0:
        near &= -back <= reach[1]
    return (run[:, :, None] == run[:, None, :]) & near
