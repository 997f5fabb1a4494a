"""A model gets rows for new tokens, each the mean of its old pieces' rows."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from steps.core.entry import StepError


def grow(model: Any, pieces: Mapping[int, Sequence[int]]) -> None:
    """Give each new id a row in the input and output embeddings and the output's biases.

    Of any model of transformers. `pieces` as `vocabulary.extend` gives them. Tables may be longer
    than the vocabulary: afterwards they have max(rows before, largest id + 1) rows.
    """
    if not pieces:
        return
    before = len(model.get_input_embeddings().weight)
    rows = max(before, 1 + max(pieces))
    _check(model, before, pieces)
    with torch.no_grad():
        if rows > before:
            _lengthen(model, rows)
        for table in _tables(model):
            table[before:] = table[:before].float().mean(0)  # ids between, if there are any
            for new, old in pieces.items():
                table[new] = table[list(old)].float().mean(0)


def _check(model: Any, rows: int, pieces: Mapping[int, Sequence[int]]) -> None:
    head = model.get_output_embeddings()
    found = rows if head is None else len(head.weight)
    # Marian may have two vocabularies; DeBERTa with `legacy: false` has no head that transformers
    # 5.23 could resize.
    if found != rows or not getattr(model.config, "share_encoder_decoder_embeddings", True):
        raise StepError(
            f"{type(model).__name__} takes no new tokens: expected one vocabulary for input and"
            f" output, found {rows} and {found} rows of its own; set text.new_tokens to 0"
        )
    largest = max(itertools.chain(*pieces.values()))
    if largest >= rows:
        raise StepError(
            f"token {largest} is beyond the model's {rows} embeddings; take the tokenizer that the"
            " model was trained with"
        )


def _lengthen(model: Any, rows: int) -> None:
    """Resize; an output with weights of its own keeps them.

    transformers 5.23 ties those of T5 1.1 to the input again, and so loses them.
    """
    head = model.get_output_embeddings()
    tied = head is None or head.weight is model.get_input_embeddings().weight
    kept = None if tied else head.weight.detach().clone()
    model.resize_token_embeddings(rows, mean_resizing=False)
    if kept is not None:
        space = kept.new_zeros(rows - len(kept), kept.shape[1])
        model.get_output_embeddings().weight = nn.Parameter(torch.cat([kept, space]))


def _tables(model: Any) -> Iterator[torch.Tensor]:
    """All that has a row for each token: (rows, width) or (rows,); tied ones twice."""
    head = model.get_output_embeddings()
    yield model.get_input_embeddings().weight
    if head is not None:
        yield head.weight
    if getattr(head, "bias", None) is not None:
        yield head.bias
    if hasattr(model, "final_logits_bias"):  # BART's kin
        yield model.final_logits_bias[0]
