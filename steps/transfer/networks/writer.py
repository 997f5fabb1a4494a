"""A pretrained model that writes: an encoder-decoder, or a causal language model.

One tokenizer serves what is read and what is written; a Marian model with two is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from steps.core.entry import StepError
from steps.transfer.families import kind_of
from steps.transfer.loop import device
from steps.transfer.losses import PickedLogits, loss_sum
from steps.transfer.networks.encoder import forget
from steps.transfer.packing import frame, read_tokenizer

LOADERS = {"encoder-decoder": "AutoModelForSeq2SeqLM", "causal": "AutoModelForCausalLM"}
WANTED = "an encoder-decoder, such as T5 or BART, or a causal model, such as GPT-2 or Llama"


@dataclass(frozen=True)
class Row:
    """source: what an encoder reads, (tokens,), empty for a causal model; tokens: what is written,
    of which the first `known` are given.
    """

    item: int
    source: np.ndarray
    tokens: np.ndarray
    known: int

    @property
    def size(self) -> int:
        return len(self.source) + len(self.tokens)


class Writer(nn.Module):
    """`start` is a checkpoint folder; `weights`, where given, a folder that `save` has written.

    lead: the tokens that come before everything that is written; end: the one that ends it.
    """

    def __init__(self, start: Path, weights: Path | None = None) -> None:
        super().__init__()
        from transformers import AutoConfig

        self.tokenizer = read_tokenizer(start)
        self.config = AutoConfig.from_pretrained(start)
        self.kind = _kind(start, self.config)
        self.end = _end(start, self.config)
        self.lead = self._lead()
        self.model = _read(weights or start, self.config, self.kind)
        self.to(device()).eval()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def causal(self) -> bool:
        return self.kind == "causal"

    @property
    def padding(self) -> int:
        found = self.config.pad_token_id
        return self.end if found is None else int(found)

    @property
    def limit(self) -> int | None:
        """The most tokens that may be written, and that an encoder may read; None: any number."""
        return int(getattr(self.config, "max_position_embeddings", 0) or 0) or None

    def _lead(self) -> list[int]:
        before, _ = frame(self.tokenizer)
        if self.causal:
            return before
        forced = getattr(self.config, "forced_bos_token_id", None)
        return [self._first, *(before if forced is None else [int(forced)])]

    @property
    def _first(self) -> int:
        found = getattr(self.config, "decoder_start_token_id", None)
        return self.padding if found is None else int(found)

    def teaching(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Lay rows beside each other; `picked` are the places, in the flattened rows, of tokens
        whose next one is to be learned, `targets` those next ones: (predicted,).
        """
        written = [row.tokens[:-1] for row in rows]
        longest = max(map(len, written))
        picked = [
            np.arange(row.known - 1, len(part)) + number * longest
            for number, (row, part) in enumerate(zip(rows, written, strict=True))
        ]
        targets = np.concatenate([row.tokens[row.known :] for row in rows])
        found = {"picked": torch.from_numpy(np.concatenate(picked))}
        return found | {"targets": torch.from_numpy(targets)} | self._laid(rows, written)

    def _laid(
        self, rows: Sequence[Row], written: list[np.ndarray], left: bool = False
    ) -> dict[str, Tensor]:
        """What the model takes; `left`: what is written is filled up on the left."""
        ids, mask = _filled(written, self.padding, left)
        if self.causal:
            return {"input_ids": ids, "attention_mask": mask}
        read, seen = _filled([row.source for row in rows], self.padding)
        return {"input_ids": read, "attention_mask": seen, "decoder_input_ids": ids}

    def logits(self, picked: Tensor, **inputs: Tensor) -> Tensor:
        """Return (predicted, vocabulary)."""
        return PickedLogits(self.model)(inputs | {"use_cache": False}, picked)

    @torch.inference_mode()
    def losses(self, rows: Sequence[Row]) -> list[float]:
        """-log p of each row's tokens after the known ones, summed, in nats."""
        batch = {name: part.to(self.device) for name, part in self.teaching(rows).items()}
        targets = batch.pop("targets")
        logits = self.logits(**batch)
        sizes = [len(row.tokens) - row.known for row in rows]
        parts = zip(logits.split(sizes), targets.split(sizes), strict=True)
        return [float(loss_sum(part, target)) for part, target in parts]

    @torch.inference_mode()
    def write(self, rows: Sequence[Row], most: int, beams: int) -> list[tuple[list[int], float]]:
        """Go on after each row's tokens, all of them known, to the end token or for `most` tokens:
        what is new, and the mean log-probability of its tokens.
        """
        sure = [_Sureness(self.end)] if beams == 1 else []  # beams have their own sums
        laid = self._laid(rows, [row.tokens for row in rows], left=True)
        found = self.model.generate(
            **{name: part.to(self.device) for name, part in laid.items()},
            generation_config=self.settings(most, beams),
            logits_processor=sure,
        )
        given = laid["input_ids" if self.causal else "decoder_input_ids"].shape[1]
        new = [_until(part, self.end) for part in found.sequences[:, given:].tolist()]
        means = sure[0].means() if sure else found.sequences_scores
        return list(zip(new, means.tolist(), strict=True))

    def settings(self, most: int, beams: int) -> Any:
        """How a text is written: by the likeliest words, or by beams; for `generate`."""
        from transformers import GenerationConfig

        return GenerationConfig(
            max_new_tokens=most,
            num_beams=beams,
            do_sample=False,
            eos_token_id=self.end,
            pad_token_id=self.padding,
            bos_token_id=self.config.bos_token_id,
            decoder_start_token_id=None if self.causal else self._first,
            suppress_tokens=None if self.padding == self.end else [self.padding],
            return_dict_in_generate=True,
            output_scores=beams > 1,
        )

    @property
    def layers(self) -> list[nn.Module]:
        """The layers, an encoder's first."""
        stacks = [self.model.base_model]
        if not self.causal:
            stacks = [self.model.get_encoder(), self.model.get_decoder()]
        lists = [next(m for m in s.modules() if isinstance(m, nn.ModuleList)) for s in stacks]
        return [layer for layers in lists for layer in layers]

    def groups(self) -> list[list[nn.Parameter]]:
        """The weights from the embeddings up, a layer each, a norm between two with the one before
        it; after the last layer comes the head, unless it is the embeddings.
        """
        layers = self.layers
        of = {id(w): at for at, layer in enumerate(layers, 1) for w in layer.parameters()}
        embeddings = [m.weight for m in self.model.modules() if isinstance(m, nn.Embedding)]
        of = {id(weight): 0 for weight in embeddings} | of
        groups: list[list[nn.Parameter]] = [[] for _ in range(len(layers) + 2)]
        before = 0  # the group of the weight before
        for weight in self.model.parameters():
            at = of.get(id(weight), len(layers) + 1 if before >= len(layers) else before)
            groups[at].append(weight)
            before = at or before
        return [group for group in groups if group]

    def renew(self, layers: int) -> None:
        """Give so many of the last layers random weights (see Encoder.renew)."""
        there = self.layers
        if not 0 <= layers <= len(there):
            raise StepError(f"reinitialised_layers is {layers}; the model has {len(there)} layers")
        forget(self.model, there[len(there) - layers :])

    def save(self, out: Path) -> None:
        """Write the weights under their usual names, those that are tied once."""
        out.mkdir(parents=True, exist_ok=True)
        found = {}
        seen: set[int] = set()
        for name, part in self.model.state_dict().items():
            if part.data_ptr() not in seen:
                found[name] = part.cpu().contiguous()
                seen.add(part.data_ptr())
        save_file(found, out / "model.safetensors", metadata={"format": "pt"})


class _Sureness:
    """Adds up the log-probability of the likeliest token at each step of a greedy `generate`."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.total: Tensor | None = None

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        best, token = scores.float().log_softmax(dim=-1).max(dim=-1)
        if self.total is None:
            self.total, self.count = torch.zeros_like(best), torch.zeros_like(token)
            self.open = torch.ones_like(token, dtype=torch.bool)  # rows that have not ended
        self.total += best * self.open
        self.count += self.open
        self.open &= token != self.end
        return scores

    def means(self) -> Tensor:
        assert self.total is not None
        return self.total / self.count


def _filled(parts: Sequence[np.ndarray], padding: int, left: bool = False) -> tuple[Tensor, Tensor]:
    """Lay rows beside each other, filled up to the longest; return ids and mask, (rows, tokens)."""
    longest = max(map(len, parts))
    ids = np.full((len(parts), longest), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for number, part in enumerate(parts):
        place = slice(longest - len(part), None) if left else slice(0, len(part))
        ids[number, place], mask[number, place] = part, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _kind(start: Path, config: Any) -> str:
    kind = kind_of(config)
    if kind not in LOADERS:
        raise StepError(
            f"{start} is of type {config.model_type}, which does not write texts; expected {WANTED}"
        )
    if getattr(config, "decoder_vocab_size", None) not in (None, config.vocab_size):
        raise StepError(
            f"{start} reads and writes with two vocabularies ({config.vocab_size} and"
            f" {config.decoder_vocab_size} words); expected a model with one tokenizer for both"
        )
    return kind


def _end(start: Path, config: Any) -> int:
    found = config.eos_token_id
    if isinstance(found, list):  # Llama 3 ends a turn, a message or a text
        found = found[0] if found else None
    if found is None:
        raise StepError(
            f"{start}/config.json names no eos_token_id; expected the number of the token that ends"
            " a text: add it"
        )
    return int(found)


def _read(folder: Path, config: Any, kind: str) -> nn.Module:
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    loader = getattr(transformers, LOADERS[kind])
    model, about = loader.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        generation_config=transformers.GenerationConfig(),  # the checkpoint's is not asked for
        output_loading_info=True,
    )
    if lost := sorted(about["missing_keys"]):
        raise StepError(
            f"{folder} lacks {len(lost)} weights of a model that writes, {lost[0]} the first;"
            f" expected {WANTED}, saved whole"
        )
    return model
