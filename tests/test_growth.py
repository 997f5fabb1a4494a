from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from steps.core.entry import StepError
from steps.transfer.growth import grow
from tests.families import FAMILIES, make_family

BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2} | {
    "intermediate_size": 16,
    "vocab_size": 50,
}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 50}
IDS = torch.tensor([[7, 9, 11, 8, 10, 12]])
PIECES = {50: [7, 8, 9], 52: [10, 7]}  # 51 is no one's


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    also = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **also).logits[0]


def some_biases(model: Any) -> Any:
    """Biases are zero in a new model; here they are not."""
    torch.manual_seed(1)
    head = model.get_output_embeddings()
    with torch.no_grad():
        for bias in (getattr(head, "bias", None), getattr(model, "final_logits_bias", None)):
            if bias is not None:
                bias.normal_()
    return model


def reloaded(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_new_tokens_embedding_and_logit_are_the_mean_of_its_pieces(kind: str, tmp_path: Path):
    cls = getattr(transformers, FAMILIES[kind][0])
    model = some_biases(cls.from_pretrained(make_family(kind, tmp_path / "start")))
    size, before = model.config.vocab_size, logits(model)
    pieces = {size: [7, 8, 9], size + 1: [10, 7]}
    grow(model, pieces)
    table, after = model.get_input_embeddings().weight, logits(model)
    assert table.shape[0] == after.shape[-1] == model.config.vocab_size == size + 2
    torch.testing.assert_close(after[:, :size], before)
    for new, old in pieces.items():
        torch.testing.assert_close(table[new], table[old].mean(0))
        torch.testing.assert_close(after[:, new], before[:, old].mean(-1))
    read = reloaded(model, tmp_path / "grown")
    assert read.config.vocab_size == size + 2
    new_ids = torch.tensor([[7, size, size + 1, 9]])
    assert torch.equal(logits(read, new_ids), logits(model, new_ids))


@pytest.mark.parametrize(
    "config",
    [
        transformers.BertConfig(**BERT, tie_word_embeddings=False),
        transformers.GPT2Config(
            n_embd=16, n_layer=1, n_head=2, vocab_size=50, tie_word_embeddings=False,
            bos_token_id=0, eos_token_id=1,
        ),
        transformers.T5Config(**T5, decoder_start_token_id=0, tie_word_embeddings=False),
    ],
    ids=["bert", "gpt2", "t5"],
)  # fmt: skip
def test_an_output_with_weights_of_its_own_keeps_them(config: Any, tmp_path: Path):
    """T5 1.1 says that its weights are tied, and yet has two tables on disk."""
    names = {"bert": "MaskedLM", "gpt2": "LMHeadModel", "t5": "ForConditionalGeneration"}
    prefix = {"bert": "BertFor", "gpt2": "GPT2", "t5": "T5"}[config.model_type]
    model = getattr(transformers, prefix + names[config.model_type])(config)
    model.get_output_embeddings().weight = torch.nn.Parameter(torch.randn(50, 16))
    model = reloaded(model, tmp_path / "start")
    own = model.get_output_embeddings().weight.clone()
    assert not torch.equal(own, model.get_input_embeddings().weight)
    before = logits(model)
    grow(model, PIECES)
    assert torch.equal(model.get_output_embeddings().weight[:50], own)
    torch.testing.assert_close(logits(model)[:, 52], before[:, [10, 7]].mean(-1))
    read = reloaded(model, tmp_path / "grown")
    assert torch.equal(logits(read), logits(model))
    assert read.get_output_embeddings().weight.requires_grad


def test_a_table_with_rows_to_spare_is_not_resized():
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(**T5 | {"vocab_size": 64}, decoder_start_token_id=0)
    )
    spare = model.shared.weight[60].clone()
    grow(model, PIECES)
    assert model.config.vocab_size == len(model.shared.weight) == 64
    assert torch.equal(model.shared.weight[52], model.shared.weight[[10, 7]].mean(0))
    assert torch.equal(model.shared.weight[60], spare)


def test_chance_has_no_part_in_it():
    grown = []
    for seed in (1, 2):
        torch.manual_seed(0)
        model = transformers.BertForMaskedLM(transformers.BertConfig(**BERT)).to(torch.bfloat16)
        torch.manual_seed(seed)
        grow(model, PIECES)
        grown.append(model.state_dict())
    assert all(torch.equal(grown[0][name], grown[1][name]) for name in grown[0])
    table = grown[0]["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(table[52], table[[10, 7]].float().mean(0).bfloat16())
    assert torch.equal(table[51], table[:50].float().mean(0).bfloat16())


def test_without_new_tokens_a_model_stays_as_it_is():
    model = transformers.BertForMaskedLM(transformers.BertConfig(**BERT))
    grow(model, {})
    assert model.config.vocab_size == 50


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("BertForMaskedLM", BERT | {"vocab_size": 9}, "token 10 is beyond the model's 9 embed"),
        ("DebertaV2ForMaskedLM", BERT | {"legacy": False}, "takes no new tokens: expected one"),
        (
            "MarianMTModel",
            {"d_model": 16, "vocab_size": 50, "decoder_vocab_size": 50, "pad_token_id": 0}
            | {"share_encoder_decoder_embeddings": False, "decoder_start_token_id": 0},
            "MarianMTModel takes no new tokens",
        ),
    ],
)
def test_a_model_that_cannot_grow_is_told_in_one_line(name: str, settings: Any, said: str):
    cls = getattr(transformers, name)
    with pytest.raises(StepError, match=said):
        grow(cls(cls.config_class(**settings)), PIECES)
