"""A tiny random model of every family, with a tokenizer of its own."""

from pathlib import Path
from typing import Any

from tests.tiny import WORDS

SIZES = {"vocab_size": 0, "max_position_embeddings": 64}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}
LLAMA = BERT | {"num_key_value_heads": 2}
# model type -> (class, its configuration, its special tokens: before, after, and others)
FAMILIES: dict[str, tuple[str, dict[str, Any], tuple[str, str, tuple[str, ...]]]] = {
    "bert": ("BertForMaskedLM", BERT, ("[CLS]", "[SEP]", ("[PAD]", "[UNK]", "[MASK]"))),
    "roberta": ("RobertaForMaskedLM", BERT, ("<s>", "</s>", ("<pad>", "<unk>", "<mask>"))),
    "distilbert": (
        "DistilBertForMaskedLM",
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64},
        ("[CLS]", "[SEP]", ("[PAD]", "[UNK]", "[MASK]")),
    ),
    "electra": (
        "ElectraForMaskedLM",
        BERT | {"embedding_size": 16},
        ("[CLS]", "[SEP]", ("[PAD]", "[UNK]", "[MASK]")),
    ),
    "deberta-v2": (
        "DebertaV2ForMaskedLM",
        BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        ("[CLS]", "[SEP]", ("[PAD]", "[UNK]", "[MASK]")),
    ),
    "modernbert": (
        "ModernBertForMaskedLM",
        BERT | {"local_attention": 8, "num_hidden_layers": 4},
        ("[CLS]", "[SEP]", ("[PAD]", "[UNK]", "[MASK]")),
    ),
    "xlm-roberta": ("XLMRobertaForMaskedLM", BERT, ("<s>", "</s>", ("<pad>", "<unk>", "<mask>"))),
    "xlm": (
        "XLMWithLMHeadModel",
        {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64},
        ("</s>", "</s>", ("<pad>", "<unk>", "<special1>")),
    ),
    "xlnet": (
        "XLNetLMHeadModel",
        {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
        ("", "<sep>", ("<pad>", "<unk>", "<mask>")),
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
        ("", "", ("<|endoftext|>",)),
    ),
    "llama": ("LlamaForCausalLM", LLAMA, ("<s>", "", ("<unk>",))),
    "mistral": ("MistralForCausalLM", LLAMA | {"sliding_window": None}, ("<s>", "", ("<unk>",))),
    "qwen2": ("Qwen2ForCausalLM", LLAMA, ("", "", ("<|endoftext|>",))),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        ("", "</s>", ("<pad>", "<unk>", *(f"<extra_id_{n}>" for n in range(20)))),
    ),
    "bart": (
        "BartForConditionalGeneration",
        SEQ2SEQ,
        ("<s>", "</s>", ("<pad>", "<unk>", "<mask>")),
    ),
    "marian": ("MarianMTModel", SEQ2SEQ, ("", "</s>", ("<pad>", "<unk>"))),
}
ROLES = {
    "pad_token_id": ("[PAD]", "<pad>"),
    "bos_token_id": ("<s>", "[CLS]", "<|endoftext|>"),
    "eos_token_id": ("</s>", "[SEP]", "<|endoftext|>", "<sep>"),
    "decoder_start_token_id": ("<pad>",),
}


def make_family(kind: str, out: Path) -> Path:
    """Write a tiny model of a family, weights random by a fixed seed, and its tokenizer."""
    import torch
    import transformers

    name, settings, (before, after, others) = FAMILIES[kind]
    vocabulary = make_tokenizer(out, before, after, others)
    ids = {
        role: next((vocabulary[token] for token in tokens if token in vocabulary), None)
        for role, tokens in ROLES.items()
    }
    torch.manual_seed(0)
    model = getattr(transformers, name)
    config = model.config_class(**settings, **ids, vocab_size=len(vocabulary))
    model(config).save_pretrained(out)
    return out


def make_tokenizer(out: Path, before: str, after: str, others: tuple[str, ...]) -> dict[str, int]:
    """Write a tokenizer of whole words, with letters for the rest; return its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = [token for token in dict.fromkeys([*others, before, after]) if token]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = special + letters + [f"##{c}" for c in letters] + WORDS
    vocabulary = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
    unknown = next((t for t in special if "unk" in t.lower()), special[0])
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if before or after:
        shape = " ".join(part for part in (before, "$A", after) if part)
        parts = (before, "$A", after or before, "$B:1", f"{after}:1" if after else "")
        ends = [(token, vocabulary[token]) for token in special if token in (before, after)]
        tokenizer.post_processor = processors.TemplateProcessing(
            shape, " ".join(part for part in parts if part), ends
        )
    tokenizer.add_special_tokens(special)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    return vocabulary
