import numpy as np
import pytest
import torch

from steps.transfer.objectives import Masker, PickedLogits, held_out_loss, model_inputs
from steps.transfer.packing import fill
from tests.tiny import make_base

PIECES = [(2, 30, 31, 32, 33, 3), (2, 40, 41, 42, 3), (2, 50, 51, 52, 53, 54, 3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import AutoModelForMaskedLM

    base = make_base(tmp_path_factory.mktemp("base"), head=True)
    return AutoModelForMaskedLM.from_pretrained(base).eval()


MASKER = Masker(0.3, mask_id=4, vocabulary=100, special=frozenset({0, 2, 3, 4}))


def test_logits_at_picked_positions_are_those_of_the_whole_model(model):
    blocks = fill(PIECES, [[0, 1], [2]], 12, padding=0)
    inputs = model_inputs(blocks, blocks.tokens.astype(np.int64), model)
    picked = torch.zeros(2, 12, dtype=torch.bool)
    picked[0, 3] = picked[0, 7] = picked[1, 1] = True
    with torch.inference_mode():
        some, every = PickedLogits(model)(inputs, picked), model(**inputs).logits
    torch.testing.assert_close(some, every[picked])
    assert some.shape[0] == 3


def test_a_packed_document_reads_as_if_it_were_alone(model):
    packed = fill(PIECES, [[0, 1], [2]], 12, padding=0)
    alone = fill(PIECES, [[1]], 5, padding=0)
    with torch.inference_mode():
        together = model(**model_inputs(packed, packed.tokens.astype(np.int64), model)).logits
        single = model(**model_inputs(alone, alone.tokens.astype(np.int64), model)).logits
    torch.testing.assert_close(together[0, 6:11], single[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_held_out_loss_does_not_depend_on_the_batch(model, batch):
    blocks = fill(PIECES * 3, [[n] for n in range(9)], 12, padding=0)
    lm = PickedLogits(model)
    whole = held_out_loss(lm, blocks, MASKER, seed=1, batch=9)
    assert held_out_loss(lm, blocks, MASKER, seed=1, batch=batch) == pytest.approx(whole, abs=1e-5)


def test_masks_hit_the_asked_share_and_never_a_special_token():
    blocks = fill([(2, *range(10, 90), 3)] * 50, [[n] for n in range(50)], 100, padding=0)
    inputs, picked = MASKER(blocks, np.random.default_rng(0))
    assert picked[:, 1:81].mean() == pytest.approx(0.3, abs=0.03)
    assert not picked[:, 0].any()
    assert not picked[:, 81:].any()
    assert (inputs[picked] == 4).mean() == pytest.approx(0.8, abs=0.03)
    assert (inputs[~picked] == blocks.tokens[~picked]).all()
