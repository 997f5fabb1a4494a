"""Every family of models: what is promised of its objective and of its layout."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from steps.adapt import write
from steps.core.params import Adaptation
from steps.transfer import attention
from steps.transfer.adaptation import Material, Run, phases
from steps.transfer.families import PACKED, PACKED_CAUSAL, read_family, read_model
from steps.transfer.layout import present
from steps.transfer.loop import set_dropout
from steps.transfer.losses import PickedLogits, loss_sum
from steps.transfer.measure import held_out, mean
from steps.transfer.objectives import objective, plm
from steps.transfer.packing import Blocks, Part, best_fit, frame, read_tokenizer
from steps.transfer.step import Weights, tensors
from tests.families import FAMILIES, make_family
from tests.tiny import WORDS

BLOCK = 32
PARAMS = {
    "start": "base",
    "control_of": None,
    "text": {"corpora": {"c": 1}, "tasks": {}, "replay": {}, "nearest": 0, "new_tokens": 0},
    "objective": "auto",
    "mask_rate": 0.25,
    "whole_words": False,
    "warmup_tokens": 0,
    "warmup_learning_rate": 1e-3,
    "tokens": 6000,
    "batch_tokens": 256,
    "learning_rate": 5e-3,
    "schedule": "linear",
    "dropout": 0.0,
    "checkpoint_steps": 1000,
    "checkpoint_minutes": 60,
    "seed": 1,
}
EXPECTED = {
    "xlnet": "plm", "t5": "denoise", "bart": "infill", "marian": "infill",
    "gpt2": "clm", "llama": "clm", "mistral": "clm", "qwen2": "clm",
}  # fmt: skip


def pack_texts(base: Path, texts: list[str]) -> Blocks:
    """Pack texts into blocks in memory, each in its tokenizer's frame."""
    tokenizer = read_tokenizer(base)
    before, after = frame(tokenizer)
    pieces = [[*before, *tokenizer.encode(t, add_special_tokens=False).ids, *after] for t in texts]
    arrays = [np.array(piece[:BLOCK], dtype=np.uint32) for piece in pieces]
    groups = best_fit([len(piece) for piece in arrays], BLOCK)
    blocks = Blocks.create(len(groups), BLOCK, 0)
    blocks.fill(groups, lambda n: (arrays[n], np.ones(len(arrays[n]), dtype=np.bool_)))
    return blocks


def texts(count: int) -> list[str]:
    """Sentences with an order that can be learnt: each word is followed by its neighbour."""
    return [" ".join(WORDS[(n + k) % len(WORDS)] for k in range(4 + n % 9)) for n in range(count)]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return {kind: make_family(kind, root / kind) for kind in FAMILIES}


def make_run(base: Path, room: Path, **changed) -> tuple[Run, Blocks]:
    params = Adaptation(**(PARAMS | changed))
    model, new_head = read_model(base, 1)
    family = read_family(base, model, base)
    name, made = objective(family, params)
    blocks = pack_texts(base, texts(120))
    parts = [Part("c", 1.0, 0, len(blocks), blocks.size)]
    material = Material(blocks, parts, name, made, 1.0, family.vocabulary)
    plan = phases(params, material, new_head)
    return Run(Weights(model, None), material, params, room, plan), pack_texts(base, texts(40))


def first_blocks(run: Run) -> tuple[dict, torch.Tensor, torch.Tensor]:
    """What the model is given of the first blocks, where it predicts, and what."""
    chances = [np.random.default_rng([5, n]) for n in range(4)]
    made = run.material.objective(run.material.blocks[:4], chances)
    return tensors(made, run.weights.model)


def loss_of(run: Run, blocks: Blocks, batch: int = 8) -> float:
    parts = [Part("h", 1.0, 0, len(blocks), blocks.size)]
    return mean(list(held_out(run.weights, blocks, parts, run.material.objective, batch).values()))


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_tiny_model_of_it_learns_and_its_checkpoint_reloads(bases, tmp_path, kind):
    run, held = make_run(bases[kind], tmp_path / "room")
    assert run.material.name == EXPECTED.get(kind, "mlm")
    before = loss_of(run, held)
    for phase in run.phases:
        run.train(phase)
    after = loss_of(run, held)
    assert after < before - 0.3
    write(run, bases[kind], bases[kind], tmp_path / "out")
    again, new_head = read_model(tmp_path / "out", 9)
    assert not new_head
    vocabularies = [read_tokenizer(at).get_vocab() for at in (tmp_path / "out", bases[kind])]
    assert vocabularies[0] == vocabularies[1]
    run.weights = Weights(again, None)
    assert loss_of(run, held) == pytest.approx(after, abs=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_held_out_loss_does_not_depend_on_the_batch(bases, tmp_path, kind):
    run, held = make_run(bases[kind], tmp_path / "room")
    found = [loss_of(run, held, batch) for batch in (1, 7, 64)]
    assert max(found) - min(found) < 1e-5


@pytest.mark.parametrize("kind", [*PACKED, *PACKED_CAUSAL])
def test_a_packed_text_reads_as_if_it_were_alone(bases, kind):
    base = bases["xlm-roberta" if kind == "camembert" else kind]  # the same model by another name
    model, _ = read_model(base, 1)
    family = read_family(base, model, base)
    assert family.packed
    together = pack_texts(base, texts(6))
    assert 1 < len(together) < 6
    packed = logits(model, family, together)
    assert len(packed) == together.size
    apart = logits(model, dataclasses.replace(family, packed=False), together)
    torch.testing.assert_close(packed, apart, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [*PACKED, *PACKED_CAUSAL])
def test_attention_by_the_bounds_of_pieces_is_attention_by_pairs(bases, kind):
    base = bases["xlm-roberta" if kind == "camembert" else kind]
    model, _ = read_model(base, 1)
    together = pack_texts(base, texts(9))
    found = []
    for name in ("sdpa", attention.use()):
        model.set_attn_implementation(name)
        family = read_family(base, model, base)
        assert family.runs == (name == attention.NAME)
        found.append(logits(model, family, together))
    torch.testing.assert_close(*found, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_dropout_is_what_params_say_in_every_family(bases, kind, tmp_path):
    run, _ = make_run(bases[kind], tmp_path / "room")
    model = run.weights.model.train()
    inputs, picked, _ = first_blocks(run)
    for dropout in (0.0, 0.3):
        set_dropout(model, dropout)
        with torch.no_grad():
            first, again = (PickedLogits(model)(inputs, picked) for _ in range(2))
        assert torch.equal(first, again) == (dropout == 0.0)


def logits(model, family, blocks: Blocks) -> torch.Tensor:
    """Logits at every token, in the order of the pieces."""
    ids = blocks.tokens.astype(np.int64)
    batch = present(blocks, ids, np.where(blocks.segments > 0, ids, -1), family)
    inputs, picked, _ = tensors(batch, model.eval())
    with torch.inference_mode():
        return PickedLogits(model)(inputs, picked)


def test_a_packed_text_is_permuted_as_if_it_were_alone(bases):
    model, _ = read_model(bases["xlnet"], 1)
    together = pack_texts(bases["xlnet"], texts(6))
    orders = np.where(together.segments == 1, together.positions() % 3 - 1, -1)
    alone = Blocks(
        *(np.where(together.segments == 1, a, 0).astype(a.dtype) for a in vars(together).values())
    )
    found = []
    for blocks in (together, alone):
        batch = plm.batch(blocks, blocks.tokens.astype(np.int64), orders)
        inputs, picked, _ = tensors(batch, model.eval())
        with torch.inference_mode():
            found.append(PickedLogits(model)(inputs, picked))
    torch.testing.assert_close(found[0], found[1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_logits_and_gradients_are_those_of_the_whole_model(bases, tmp_path, kind):
    run, _ = make_run(bases[kind], tmp_path / "room")
    model = run.weights.model.eval()
    inputs, picked, targets = first_blocks(run)
    gradients = []
    for whole in (False, True):
        model.zero_grad()
        if whole:
            every = model(**inputs).logits.flatten(0, 1)[picked]
            loss = torch.nn.functional.cross_entropy(every, targets, reduction="sum")
        else:
            loss = loss_sum(PickedLogits(model)(inputs, picked), targets)
        loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in model.parameters())])

    for ours, theirs in zip(*gradients, strict=True):
        if ours is None and theirs is None:
            continue
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3, check_dtype=False)
