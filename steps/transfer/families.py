"""Families of models: what a base is, what it is trained to do, and what its inputs look like."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from steps.core.entry import StepError
from steps.transfer import attention, ranks
from steps.transfer.loop import device, half
from steps.transfer.packing import Blocks, read_tokenizer

MASKS = ("[MASK]", "<mask>", "<special1>")  # BERT's, RoBERTa's and XLM's
UNKNOWN = ("[UNK]", "<unk>")
# Their attention takes a mask for each pair of tokens and their positions can be set, so that many
# pieces share a row; held by tests/test_families.py. Others read each piece in a row of its own.
PACKED = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "modernbert")
PACKED_CAUSAL = ("gpt2", "llama", "mistral", "qwen2")
BY_KIND = {
    "masked": ("AutoModelForMaskedLM", "mlm"),
    "causal": ("AutoModelForCausalLM", "clm"),
    "permuted": ("AutoModelForCausalLM", "plm"),
    "encoder-decoder": ("AutoModelForSeq2SeqLM", "infill"),
}


@dataclass(frozen=True, eq=False)
class Family:
    """Ids are the tokenizer's. `special` tokens are never predicted by choice; `window`: how far a
    token looks in layers of local attention, 0 if there are none; `first_position`: None where
    positions cannot be set; `runs`: attention takes the pieces' bounds (steps.transfer.attention).
    """

    start: str
    kind: str
    objective: str
    packed: bool
    vocabulary: int
    special: list[int]
    sentinels: list[int]
    mask: int | None
    unknown: int | None
    padding: int
    decoder_start: int
    first_position: int | None
    window: int
    runs: bool

    def apart(self, blocks: Blocks) -> dict[str, Any]:
        """Arguments that keep the pieces of a block apart: who looks at whom, and positions."""
        full = blocks.bounds()[None, None, None] if self.runs else self._pairs(blocks)
        found: dict[str, Any] = {"attention_mask": full}
        if self.window:
            place = np.arange(blocks.tokens.shape[1])
            near = abs(place[:, None] - place[None, :]) <= self.window
            local = full if self.runs else full & near
            found["attention_mask"] = {"full_attention": full, "sliding_attention": local}
        if self.first_position is not None:
            found["position_ids"] = blocks.positions() + self.first_position
        return found

    def _pairs(self, blocks: Blocks) -> np.ndarray:
        """Which token may look at which: (blocks, 1, block_tokens, block_tokens) bool."""
        allowed = blocks.allowed()
        return (np.tril(allowed) if self.kind == "causal" else allowed)[:, None]


def kind_of(config: Any) -> str:
    """Say what a model is pretrained to do, by its type."""
    from transformers.models.auto import modeling_auto

    if config.is_encoder_decoder:
        return "encoder-decoder"
    if config.model_type == "xlnet":
        return "permuted"
    if config.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "masked"
    if config.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    raise StepError(
        f"a model of type {config.model_type} has no language-modelling head; expected one that"
        " AutoModelForMaskedLM, AutoModelForCausalLM or AutoModelForSeq2SeqLM knows"
    )


def read_model(start: Path, seed: int, dropout: float = 0.0) -> tuple[nn.Module, bool]:
    """Load a language model in float32; say also whether its head is new, and so random."""
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    where = device()
    try:
        config = transformers.AutoConfig.from_pretrained(start)
        loader = getattr(transformers, BY_KIND[kind_of(config)][0])
        model, info = loader.from_pretrained(
            start,
            dtype=torch.float32,
            output_loading_info=True,
            use_safetensors=True,
            **attention_for(config, where, dropout),
        )
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise StepError(f"{start} is no language model: {why}") from None
    missing = sorted(info["missing_keys"])
    base = f"{model.base_model_prefix}." if model.base_model is not model else ""
    lost = [name for name in missing if name.startswith(base)]
    if lost:
        raise StepError(
            f"{start} lacks {len(lost)} weights of its encoder, {lost[0]} the first; they would be"
            " random: save it whole, by model.save_pretrained"
        )
    # what is to be sharded may not fit a device whole: each layer goes there with its part
    return (model if ranks.sharded() else model.to(where)), bool(missing)


def attention_for(config: Any, where: torch.device, dropout: float) -> dict[str, str]:
    """Choose the fastest attention: on CUDA, the kernel for runs; it has no dropout."""
    if where.type == "cuda" and half(where) and not dropout and is_packed(config):
        return {"attn_implementation": attention.use()}
    # SDPA's kernel for bfloat16 on a CPU is slow where heads are small: 28% of a step, eager 9%.
    # In float32 it is the faster one: 1,726 tokens/s against 1,562 (MiniLM-L6, AVX2, 16 x 128).
    return {"attn_implementation": "eager"} if where.type == "cpu" and half(where) else {}


def is_packed(config: Any) -> bool:
    kind = kind_of(config)
    return config.model_type in {"masked": PACKED, "causal": PACKED_CAUSAL}.get(kind, ())


def read_family(start: Path, model: nn.Module, tokens: Path) -> Family:
    """Describe a model; `tokens` is the folder of the tokenizer that its text was packed with."""
    tokenizer, config = read_tokenizer(tokens), model.config
    kind = kind_of(config)
    sentinels = _sentinels(tokenizer)
    return Family(
        start=str(start),
        kind=kind,
        objective="denoise" if sentinels and kind == "encoder-decoder" else BY_KIND[kind][1],
        packed=is_packed(config),
        vocabulary=tokenizer.get_vocab_size(),
        special=_special(tokenizer),
        sentinels=sentinels,
        mask=_first(tokenizer, MASKS),
        unknown=_first(tokenizer, UNKNOWN),
        padding=config.pad_token_id or 0,
        decoder_start=_decoder_start(config),
        first_position=_first_position(model),
        window=_window(config),
        runs=config._attn_implementation == attention.NAME,
    )


def _special(tokenizer: Tokenizer) -> list[int]:
    added = tokenizer.get_added_tokens_decoder()
    return sorted(number for number, token in added.items() if token.special)


def _sentinels(tokenizer: Tokenizer) -> list[int]:
    """T5's <extra_id_0>, <extra_id_1>, ..., in this order."""
    found = (tokenizer.token_to_id(f"<extra_id_{n}>") for n in range(100))
    return [number for number in found if number is not None]


def _first(tokenizer: Tokenizer, names: tuple[str, ...]) -> int | None:
    """The first name that the tokenizer holds as a special token."""
    added = {t.content: n for n, t in tokenizer.get_added_tokens_decoder().items()}
    return next((added[name] for name in names if name in added), None)


def _decoder_start(config: Any) -> int:
    start = getattr(config, "decoder_start_token_id", None)
    return int(start if start is not None else config.pad_token_id or 0)


def _first_position(model: nn.Module) -> int | None:
    """Where positions begin: RoBERTa and its kin count from the padding's number on."""
    import inspect

    if "position_ids" not in inspect.signature(model.forward).parameters:
        return None
    padding = getattr(getattr(model.base_model, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _window(config: Any) -> int:
    local = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    return int(getattr(config, "sliding_window", 0) or 0) if local else 0
