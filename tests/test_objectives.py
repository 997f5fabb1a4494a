"""What is hidden and predicted, and the loss and precision of it."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steps.core.entry import StepError
from steps.core.params import Adaptation
from steps.transfer.families import Family
from steps.transfer.layout import pieces_of
from steps.transfer.losses import loss_sum
from steps.transfer.objectives import denoise, infill, mlm, objective, plm
from steps.transfer.packing import Blocks
from steps.transfer.step import Stepper, Weights
from tests.families import make_family
from tests.test_families import PARAMS, make_run

FAMILY = Family(
    start="base",
    kind="masked",
    objective="mlm",
    packed=True,
    vocabulary=100,
    special=[0, 2, 3, 4],
    sentinels=[90, 91, 92, 93, 94],
    mask=4,
    unknown=1,
    padding=0,
    decoder_start=0,
    first_position=0,
    window=0,
    runs=False,
)
PIECE = np.array([2, *range(10, 90), 3])
pieces = st.lists(st.integers(5, 89), max_size=60).map(lambda ids: np.array([*ids, 3]))


def blocks_of(*rows: np.ndarray, starts: list[bool] | None = None) -> Blocks:
    width = max(map(len, rows))
    blocks = Blocks.create(len(rows), width, padding=0)
    word = np.ones(width, dtype=np.bool_) if starts is None else np.array(starts)
    blocks.fill([[n] for n in range(len(rows))], lambda n: (rows[n], word[: len(rows[n])]))
    return blocks


def corrupted(blocks: Blocks, whole_words: bool = False) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        mlm.corrupt(blocks[n : n + 1], FAMILY, 0.3, whole_words, np.random.default_rng(n))
        for n in range(len(blocks))
    ]
    inputs, picked = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return inputs, picked


def test_masks_hit_the_asked_share_80_10_10_and_never_a_special_token():
    blocks = blocks_of(*[PIECE] * 200, np.arange(10, 20))
    inputs, picked = corrupted(blocks)
    assert picked[:200, 1:81].mean() == pytest.approx(0.3, abs=0.02)
    assert not picked[:200, 0].any()
    assert not picked[:200, 81:].any()
    assert not picked[200, 10:].any()  # padding
    assert (inputs[picked] == 4).mean() == pytest.approx(0.8, abs=0.03)
    assert (inputs[picked] == blocks.tokens[picked]).mean() == pytest.approx(0.11, abs=0.03)
    assert (inputs[~picked] == blocks.tokens[~picked]).all()


def test_whole_words_are_hidden_together():
    starts = [True, *([True, False, False, False] * 20), True]
    blocks = blocks_of(*[PIECE] * 50, starts=starts)
    _, picked = corrupted(blocks, whole_words=True)
    words = picked[:, 1:81].reshape(50, 20, 4)
    assert (words.all(axis=2) == words.any(axis=2)).all()
    assert words.mean() == pytest.approx(0.3, abs=0.03)


def test_a_block_of_one_word_has_something_to_predict():
    _, picked = corrupted(blocks_of(*[np.array([2, 50, 3])] * 30))
    assert (picked[:, 1]).all()


@given(pieces, st.floats(0.05, 0.9), st.integers(0, 99))
def test_a_denoised_text_can_be_put_together_again(piece, rate, seed):
    family = dataclasses.replace(FAMILY, special=[0, 2, 3, 4, 90, 91, 92, 93, 94])
    source, target = denoise.corrupt(piece, family, rate, np.random.default_rng(seed))
    if len(piece) == 1:  # nothing but the end
        return
    assert source[-1] == target[-1] == 3
    spans: dict[int, list[int]] = {}
    for token in target[:-1]:
        if token >= 90:
            at = spans.setdefault(int(token), [])
        else:
            at.append(int(token))
    back = [t for token in source for t in (spans[int(token)] if token >= 90 else [int(token)])]
    assert back == piece.tolist()


def test_about_the_asked_share_is_in_spans_of_three():
    found = [denoise.spans(100, 0.15, np.random.default_rng(n)) for n in range(200)]
    assert all(sum(b - a for a, b in spans) == 15 and len(spans) == 5 for spans in found)
    assert len({spans[0] for spans in found}) > 50


@given(pieces, st.floats(0.05, 0.9), st.integers(0, 99))
def test_infilling_hides_text_and_keeps_the_rest_in_order(piece, rate, seed):
    free = np.flatnonzero(~np.isin(piece, FAMILY.special))
    source = infill.corrupt(piece, free, 4, rate, np.random.default_rng(seed))
    kept = [t for t in source.tolist() if t != 4]
    rest = iter(piece.tolist())
    assert all(token in rest for token in kept)  # a subsequence
    assert source[-1] == 3
    assert not len(free) or 4 in source
    assert len(piece) - len(kept) <= round(rate * len(free)) + 1


def test_a_permuted_token_sees_what_comes_before_it_in_the_order_and_not_itself():
    blocks = blocks_of(np.array([10, 11, 12, 13]))
    batch = plm.batch(blocks, blocks.tokens.astype(np.int64), np.array([[-1, 1, 0, -1]]))
    hidden = batch.inputs["perm_mask"][0].astype(bool)
    assert hidden[1].tolist() == [False, True, False, False]  # the last one sees all but itself
    assert hidden[2].tolist() == [False, True, True, False]
    assert hidden[0].tolist() == [False, True, True, False]  # context sees context alone
    assert batch.targets.tolist() == [11, 12]


def test_pieces_come_out_as_they_went_in():
    blocks = Blocks.create(1, 9, padding=0)
    rows = [np.array([5, 6, 7]), np.array([8]), np.array([9, 9])]
    blocks.fill([[0, 1, 2]], lambda n: (rows[n], np.ones(len(rows[n]), dtype=np.bool_)))
    assert [piece.tolist() for piece in pieces_of(blocks, 0)] == [row.tolist() for row in rows]


def test_an_objective_that_is_not_the_models_is_one_line():
    with pytest.raises(StepError, match="objective clm is for causal models; base is masked"):
        objective(FAMILY, Adaptation(**(PARAMS | {"objective": "clm"})))
    bare = dataclasses.replace(FAMILY, mask=None)
    with pytest.raises(StepError, match="base has no mask token, which objective mlm needs"):
        objective(bare, Adaptation(**PARAMS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_made_in_place_has_the_gradient_of_cross_entropy(dtype):
    torch.manual_seed(0)
    hidden, weight = torch.randn(150, 16), torch.randn(500, 16) / 4
    targets = torch.randint(0, 500, (150,))
    found = []
    for exact in (True, False):
        w = weight.to(torch.float32 if exact else dtype, copy=True).requires_grad_()
        logits = hidden.to(w.dtype) @ w.T
        if exact:
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        else:
            loss = loss_sum(logits, targets)
        (loss / 150).backward()
        found.append((loss.item(), w.grad.float()))
    (loss, gradient), (ours, own) = found
    loose = 1 if dtype is torch.float32 else 2000
    assert ours == pytest.approx(loss, rel=1e-6 * loose)
    assert (own - gradient).norm() / gradient.norm() < 5e-6 * loose


def test_logits_that_are_bent_afterwards_keep_what_their_gradient_needs():
    weight = torch.randn(50, 8, requires_grad=True)
    hidden, targets = torch.randn(20, 8), torch.randint(0, 50, (20,))
    gradients = []
    for ours in (True, False):
        weight.grad = None
        logits = torch.tanh(hidden @ weight.T)  # as models with capped logits do
        how = loss_sum if ours else torch.nn.functional.cross_entropy
        loss = how(logits, targets) if ours else how(logits, targets, reduction="sum")
        loss.backward()
        gradients.append(weight.grad)
    torch.testing.assert_close(*gradients)


def test_half_precision_learns_as_full_precision_does_and_keeps_exact_masters(tmp_path):
    base = make_family("bert", tmp_path / "bert")
    losses = []
    for dtype in (None, torch.bfloat16):
        run, _ = make_run(base, tmp_path / "room", tokens=3000)
        run.weights = Weights(run.weights.model, dtype)
        stepper, numbers = Stepper(run.weights, 5e-3), run._batches(0)
        curve = []
        for step in range(30):
            curve.append(run._step(stepper, next(numbers), step, 5e-3)["loss"])
            run.history = []
        losses.append(curve)
        kinds = {weight.dtype for weight in run.weights.model.parameters()}
        assert kinds == {dtype or torch.float32}
    assert losses[1][-1] == pytest.approx(losses[0][-1], abs=0.05)
    state = run.weights.state()
    assert {part.dtype for part in state.values() if part.is_floating_point()} == {torch.float32}
    name = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(state[name], state[name].bfloat16().float())
    with run.weights.exact():
        inside = dict(run.weights.model.named_parameters())[name]
        assert torch.equal(inside, state[name])
    assert run.weights.model.dtype == torch.bfloat16
