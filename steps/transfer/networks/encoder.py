"""A pretrained encoder of any family: rows of tokens -> a vector for each token."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from steps.core.entry import StepError
from steps.transfer.loop import device, half
from steps.transfer.networks.rows import Row
from steps.transfer.packing import read_tokenizer

LIMIT = 512  # tokens, where a configuration does not say


@dataclass(frozen=True)
class Inputs:
    """ids, types, mask: (rows, tokens). rows, columns: (units,), where each unit's token is."""

    ids: Tensor
    types: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor

    def to(self, where: torch.device) -> "Inputs":
        return Inputs(*(part.to(where) for part in vars(self).values()))


class Encoder(nn.Module):
    """`start` is a checkpoint folder; `weights`, where given, a folder that `save` has written.

    Of an encoder-decoder the encoder alone is taken. `dropped`: so many of the last layers are
    left out. `engine`: what runs in place of the model, if anything (steps.transfer.engine).
    """

    engine: Callable[[Inputs], Tensor] | None = None

    def __init__(self, start: Path, weights: Path | None = None, dropped: int = 0) -> None:
        super().__init__()
        from transformers import AutoConfig

        self.tokenizer = read_tokenizer(start)
        self.config = AutoConfig.from_pretrained(start)
        self.model = _read(start, self.config, weights is None)
        self.dropped = dropped
        self._drop(dropped)
        if weights is not None:
            self.model.load_state_dict(_own(load_file(weights / "model.safetensors"), self.model))
        self.to(device()).eval()
        accepted = inspect.signature(self.model.forward).parameters
        self._typed = (
            "token_type_ids" in accepted and getattr(self.config, "type_vocab_size", 0) > 1
        )

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    @property
    def causal(self) -> bool:
        """Whether a token knows nothing of those after it."""
        from steps.transfer.families import kind_of

        return kind_of(self.config) == "causal"

    @property
    def limit(self) -> int:
        """The most tokens that a row may have."""
        most = int(getattr(self.config, "max_position_embeddings", 0) or 0)
        if most <= 0:
            return LIMIT
        padding = getattr(getattr(self.model, "embeddings", None), "padding_idx", None)
        return most - (
            0 if padding is None else padding + 1
        )  # RoBERTa's positions begin after the padding

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, from the first to the last."""
        return next(
            module
            for module in self.model.modules()
            if isinstance(module, nn.ModuleList) and len(module) == self._count
        )

    @property
    def _count(self) -> int:
        return int(self.config.num_hidden_layers)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return (rows, tokens, width)."""
        if self.engine is not None:
            return self.engine(inputs)
        hidden: Tensor = self._run(inputs).last_hidden_state
        return hidden

    def every_layer(self, inputs: Inputs) -> Tensor:
        """Return (layers + 1, rows, tokens, width), the embeddings' first."""
        return torch.stack(self._run(inputs, output_hidden_states=True).hidden_states)

    def attention(self, inputs: Inputs) -> Tensor:
        """How much each token looks at each in the last layer, mean over heads: (rows, tokens,
        tokens).
        """
        self.model.set_attn_implementation("eager")  # the others keep no weights
        found: Tensor = self._run(inputs, output_attentions=True).attentions[-1]
        return found.mean(dim=1)

    def _run(self, inputs: Inputs, **more: bool) -> Any:
        return self.model(**self.given(inputs), **more)

    def given(self, inputs: Inputs) -> dict[str, Tensor]:
        """What the model reads, by its own names."""
        types = {"token_type_ids": inputs.types} if self._typed else {}
        return {"input_ids": inputs.ids, "attention_mask": inputs.mask} | types

    def inputs(self, rows: Sequence[Row]) -> Inputs:
        """Lay rows beside each other, filled up to the longest; of an empty one padding is read."""
        longest = max(1, *(row.size for row in rows))
        ids = np.full((len(rows), longest), self.config.pad_token_id or 0, dtype=np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : row.size], types[number, : row.size] = row.ids, row.types
            mask[number, : max(1, row.size)] = 1
        numbers = np.repeat(np.arange(len(rows)), [len(row.columns) for row in rows])
        columns = np.concatenate([row.columns for row in rows])
        arrays = (ids, types, mask, numbers, columns)
        return Inputs(*(torch.from_numpy(array) for array in arrays))

    def groups(self) -> list[list[nn.Parameter]]:
        """The weights from the embeddings up, a layer each; what comes after is the last's."""
        layers = [list(layer.parameters()) for layer in self.layers]
        of = {id(weight): place for place, layer in enumerate(layers, 1) for weight in layer}
        groups: list[list[nn.Parameter]] = [[] for _ in range(len(layers) + 1)]
        at = 0
        for weight in self.model.parameters():
            at = of.get(id(weight), len(layers) if at else 0)
            groups[at].append(weight)
        return groups

    def renew(self, layers: int) -> None:
        """Give so many of the last layers the random weights that they had before pretraining
        (Zhang et al. 2021, arXiv:2006.05987).
        """
        self._check("reinitialised_layers", layers, self._count)
        forget(self.model, list(self.layers)[self._count - layers :])

    def _drop(self, layers: int) -> None:
        if not layers:
            return
        self._check("dropped_layers", layers, self._count - 1)
        del self.layers[self._count - layers :]
        self.config.num_hidden_layers = self._count - layers

    def _check(self, knob: str, layers: int, most: int) -> None:
        if not 0 <= layers <= most:
            raise StepError(f"{knob} is {layers}; the model has {self._count} layers")
        holder = next(m for m in self.model.modules() if self.layers in list(m.children()))
        lists = [m for m in holder.children() if isinstance(m, nn.ModuleList)]
        if sum(len(part) == self._count for part in lists) > 1:
            raise StepError(
                f"{knob} is {layers}, but a model of type {self.config.model_type} keeps its layers"
                " in parts, in several lists; set it to 0, or take another base"
            )

    def save(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        state = {name: part.cpu().contiguous() for name, part in self.model.state_dict().items()}
        for name in _shared(state):
            state[name] = state[name].clone()
        save_file(state, out / "model.safetensors", metadata={"format": "pt"})


def forget(model: Any, layers: Sequence[nn.Module]) -> None:
    """Give layers the random weights that they had before pretraining."""
    for layer in layers:
        for weight in layer.parameters():
            weight._is_hf_initialized = False  # else transformers leaves it as it was loaded
        layer.apply(model._init_weights)


def _own(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Take an encoder's weights out of a model with a head, as a bundle may have them."""
    prefix, names = f"{model.base_model_prefix}.", model.state_dict().keys()
    if not any(name.startswith(prefix) for name in state):
        return state
    return {name: state[prefix + name] for name in names}


def _shared(state: dict[str, Tensor]) -> list[str]:
    """Names of weights that another name has already: a file holds no two names of one tensor."""
    seen: set[int] = set()
    return [n for n, part in state.items() if part.data_ptr() in seen or seen.add(part.data_ptr())]


def _read(start: Path, config: Any, pretrained: bool) -> nn.Module:
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # as in adaptation: SDPA's kernel for bfloat16 on a CPU is slow where heads are small
    slow = device().type == "cpu" and half(device()) is not None
    attention = {"attn_implementation": "eager"} if slow else {}
    if pretrained:
        model = AutoModel.from_pretrained(start, dtype=torch.float32, **attention)
    else:
        model = AutoModel.from_config(config, **attention)
    if config.is_encoder_decoder:
        model = model.get_encoder()
    model.config.use_cache = False  # nothing is written after what was read
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # not read by any head here, and random after an adaptation
    return model
