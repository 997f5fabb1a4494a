"""A pretrained encoder: texts -> a vector for each unit of each text."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Encoding
from torch import Tensor

from steps.transfer.loop import autocast, device
from steps.transfer.packing import read_tokenizer
from steps.transfer.strategies import Material, Reading

Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Inputs:
    """ids, mask: (texts, tokens). rows, columns: (units,), where each unit's first token is."""

    ids: Tensor
    mask: Tensor
    rows: Tensor
    columns: Tensor


class Encoder:
    """`start` is a checkpoint folder; `weights`, where given, a folder that `save` has written."""

    def __init__(self, start: Path, weights: Path | None = None) -> None:
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.device = device()
        self.tokenizer = read_tokenizer(start)
        if weights is None:
            self.model = AutoModel.from_pretrained(start, dtype=torch.float32)
        else:
            self.model = AutoModel.from_config(AutoConfig.from_pretrained(start))
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # not read by any head here, and random after an adaptation
        if weights is not None:
            self.model.load_state_dict(load_file(weights / "model.safetensors"))
        self.model.to(self.device).eval()
        self.width: int = self.model.config.hidden_size
        self.padding: int = self.model.config.pad_token_id or 0
        self.limit: int = getattr(self.model.config, "max_position_embeddings", 512)

    def save(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        state = {name: part.cpu().contiguous() for name, part in self.model.state_dict().items()}
        save_file(state, out / "model.safetensors", metadata={"format": "pt"})

    def pool(self, how: str, inputs: Inputs) -> Tensor:
        """Return (units, width): the mean of a text's vectors, or the first of each unit's."""
        output = self.model(input_ids=inputs.ids, attention_mask=inputs.mask)
        hidden = output.last_hidden_state  # (texts, tokens, width)
        if how == "first":
            return hidden[inputs.rows, inputs.columns]
        kept = inputs.mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * kept).sum(dim=1) / kept.sum(dim=1)

    def vectors(self, reading: Reading, texts: list[str]) -> list[np.ndarray]:
        """Return (units, width) for each text; a unit cut off by max_tokens has the text's first
        vector. Texts of like length share a batch; padding is masked, so batches change nothing.
        """
        encodings = self._encode(texts, reading.max_tokens)
        order = sorted(range(len(texts)), key=lambda place: len(encodings[place].ids))
        found: list[np.ndarray] = [np.empty(0)] * len(texts)
        self.model.eval()
        with torch.inference_mode(), autocast(self.device):
            for at in range(0, len(order), reading.batch_size):
                places = order[at : at + reading.batch_size]
                units = [reading.type.units(texts[place]) for place in places]
                inputs = self._inputs([encodings[place] for place in places], units)
                pooled = self.pool(reading.type.POOL, inputs).float().cpu().numpy()
                parts = np.split(pooled, np.cumsum([len(spans) for spans in units])[:-1])
                for place, part in zip(places, parts, strict=True):
                    found[place] = part
        return found

    def batches(
        self, material: Material, batch_size: int, random: np.random.Generator
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Yield one epoch of (inputs, targets): shuffled, then near in length within a batch."""
        texts = [example["text"] for example in material.examples]
        encodings = self._encode(texts, material.max_tokens)
        window = batch_size * 8
        order = random.permutation(len(texts))
        pools = [order[at : at + window] for at in range(0, len(order), window)]
        near = np.concatenate([sorted(p, key=lambda i: len(encodings[i].ids)) for p in pools])
        chunks = [near[at : at + batch_size] for at in range(0, len(near), batch_size)]
        for number in random.permutation(len(chunks)):
            chosen = [material.examples[i] for i in chunks[number]]
            units = [material.type.units(example["text"]) for example in chosen]
            inputs = self._inputs([encodings[i] for i in chunks[number]], units)
            flat = [
                t for example in chosen for t in material.type.targets(example, material.classes)
            ]
            yield inputs, torch.tensor(flat, device=self.device)

    def _encode(self, texts: list[str], max_tokens: int) -> list[Encoding]:
        self.tokenizer.enable_truncation(min(max_tokens, self.limit))
        encodings: list[Encoding] = self.tokenizer.encode_batch(texts)
        return encodings

    def _inputs(self, encodings: list[Encoding], units: list[Spans]) -> Inputs:
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = torch.full((len(encodings), longest), self.padding)
        mask = torch.zeros((len(encodings), longest), dtype=torch.long)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = torch.tensor(encoding.ids)
            mask[row, : len(encoding.ids)] = 1
        columns = [
            place
            for encoding, spans in zip(encodings, units, strict=True)
            for place in _first_tokens(encoding, spans)
        ]
        rows = [row for row, spans in enumerate(units) for _ in spans]
        where = (torch.tensor(part, dtype=torch.long) for part in (rows, columns))
        parts = (ids, mask, *where)
        return Inputs(*(part.to(self.device) for part in parts))


def _first_tokens(encoding: Encoding, spans: Spans) -> list[int]:
    """Find the token that holds each span's first character; 0, the first token, if cut off."""
    at = {}
    for place, (start, end) in enumerate(encoding.offsets):
        for character in range(start, end):
            at.setdefault(character, place)
    return [at.get(start, 0) for start, _ in spans]
