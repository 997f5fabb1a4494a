"""Heads against their definitions, worked out the long way."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from steps.tasks import task_type
from steps.transfer.networks import Shape
from steps.transfer.networks.heads import fit_first
from steps.transfer.networks.modules import Field, Mix, both_ways, concat, mean, padded
from steps.transfer.networks.units import Network
from steps.transfer.strategies import Material
from tests.tiny import EXAMPLES, make_base

LENGTHS = torch.tensor([3, 1, 0, 4])


@pytest.fixture
def field() -> Field:
    torch.manual_seed(1)
    made = Field(3)
    for weight in made.parameters():
        nn.init.normal_(weight)
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def material(kind: str, examples=None) -> Material:
    found = examples or EXAMPLES[kind](8)
    module = task_type(kind)
    return Material(kind, module.classes(module.labels(found)), found, 16)


def score(field: Field, scores: torch.Tensor, path: tuple[int, ...]) -> torch.Tensor:
    steps = sum(field.between[a, b] for a, b in itertools.pairwise(path))
    own = sum(scores[place, label] for place, label in enumerate(path))
    return own + steps + field.first[path[0]] + field.last[path[-1]]


def every_path(field: Field, scores: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    paths = itertools.product(range(3), repeat=len(scores))
    return {path: score(field, scores, path) for path in paths}


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(8, 3), torch.randint(0, 3, (8,))


def test_a_fields_loss_is_that_of_a_sum_over_all_paths(field):
    scores, targets = rows()
    parts = zip(scores.split(LENGTHS.tolist()), targets.split(LENGTHS.tolist()), strict=True)
    expected = torch.zeros(())
    for own, truth in parts:
        if len(own):
            whole = torch.stack(list(every_path(field, own).values())).logsumexp(0)
            expected = expected + whole - score(field, own, tuple(truth.tolist()))
    assert field.loss(scores, targets, LENGTHS).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_fields_shares_are_those_of_a_sum_over_all_paths(field):
    scores, _ = rows()
    expected = torch.zeros(8, 3)
    for start, size in ((0, 3), (3, 1), (4, 4)):
        paths = every_path(field, scores[start : start + size])
        shares = torch.stack(list(paths.values())).softmax(0)
        for path, share in zip(paths, shares, strict=True):
            for place, label in enumerate(path):
                expected[start + place, label] += share
    torch.testing.assert_close(field.shares(scores, LENGTHS), expected, atol=1e-5, rtol=0)


def test_what_fills_rows_up_changes_neither_loss_nor_shares(field):
    scores, targets = rows()
    alone = [field.loss(scores[3:4], targets[3:4], LENGTHS[1:2])]
    alone += [field.loss(scores[:3], targets[:3], LENGTHS[:1])]
    alone += [field.loss(scores[4:], targets[4:], LENGTHS[3:])]
    together = field.loss(scores, targets, LENGTHS)
    torch.testing.assert_close(together, torch.stack(alone).sum())
    torch.testing.assert_close(
        field.shares(scores, LENGTHS)[3:4], field.shares(scores[3:4], LENGTHS[1:2])
    )


def test_a_field_begins_with_how_classes_follow_each_other(field):
    field.begin([np.array([0, 1, 1]), np.array([0, 1])])
    shares = (np.array([2, 3, 0]) + 1) / 8
    pairs = (np.array([[0, 2, 0], [0, 1, 0], [0, 0, 0]]) + shares) / [[3], [2], [1]]
    torch.testing.assert_close(field.between.double(), torch.from_numpy(np.log(pairs / shares)))
    assert field.between[2].tolist() == [0, 0, 0]  # what was never seen is followed as any
    assert field.first.argmax() == 0
    assert field.last.argmax() == 1


def test_windows_do_not_cut_a_field(base):
    """A text of several windows is one row of units to it, with the scores of all windows."""
    long = EXAMPLES["tokens"](1)[0]
    text = " ".join([long["text"]] * 6)
    spans = [dict(span, start=span["start"], end=span["end"]) for span in long["spans"]]
    found = material("tokens", [long | {"text": text, "spans": spans}])
    torch.manual_seed(0)
    made = Network.build(base, found, Shape(crf=True))
    nn.init.normal_(made.field.between)
    (read,) = made.rows(found.examples, learn=True)
    assert len(read.rows) > 2
    assert read.units.tolist() == list(range(len(found.type.units(found.examples[0]))))
    batch = made.collate([read])
    loss = made(**batch)
    field, made.field = made.field, None
    windows = made.rows(found.examples, learn=True)
    assert [len(window.rows) for window in windows] == [1] * len(read.rows)
    scores = torch.zeros(len(read.units), len(found.classes))
    for window in windows:
        batch = {n: part for n, part in made.collate([window]).items() if n != "targets"}
        scores[torch.from_numpy(window.units)] = made.emissions(**batch)
    one = torch.tensor([len(scores)])
    expected = field.loss(scores, torch.from_numpy(read.targets), one) / len(scores)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_an_lstm_reads_each_row_by_itself():
    torch.manual_seed(0)
    lstm = nn.LSTM(4, 5, bidirectional=True, batch_first=True)
    vectors = torch.randn(8, 4)
    parts = [part for part in vectors.split(LENGTHS.tolist()) if len(part)]
    expected = torch.cat([lstm(part[None])[0][0] for part in parts])
    torch.testing.assert_close(both_ways(lstm, vectors, LENGTHS), expected, atol=1e-6, rtol=0)
    assert both_ways(lstm, vectors[:0], LENGTHS[2:3]).shape == (0, 10)


def test_rows_are_filled_up_after_their_units():
    found, mask = padded(torch.arange(8.0), LENGTHS)
    assert mask.sum(dim=1).tolist() == LENGTHS.tolist()
    assert found[3].tolist() == [4, 5, 6, 7]
    assert found[0].tolist() == [0, 1, 2, 0]


def test_a_mix_is_a_mean_of_layers_that_a_mean_over_tokens_may_come_before():
    torch.manual_seed(0)
    mix = Mix(3)
    nn.init.normal_(mix.weights)
    nn.init.constant_(mix.scale, 1.7)
    layers, mask = torch.randn(3, 2, 5, 4), torch.tensor([[1, 1, 1, 0, 0], [1] * 5])
    shares = mix.weights.softmax(0)
    expected = 1.7 * sum(share * layer for share, layer in zip(shares, layers, strict=True))
    torch.testing.assert_close(mix(layers), expected, atol=1e-5, rtol=0)
    pooled = mix(torch.stack([mean(layer, mask) for layer in layers]))
    torch.testing.assert_close(pooled, mean(expected, mask), atol=1e-5, rtol=0)


def test_a_text_is_its_last_token_its_mean_and_its_largest():
    hidden = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [9.0, 9.0]]])
    found = concat(hidden, torch.tensor([[1, 1, 0]]))
    assert found.tolist() == [[3, -7, 2, -6, 3, -5]]


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "tokens"])
def test_a_wide_network_begins_with_what_plain_features_and_vectors_tell(base, kind):
    found = material(kind)
    made = Network.build(base, found, Shape(wide=True))
    made.load_state_dict(fit_first(made, found), strict=False)
    assert made.wide.weight.abs().max() > 0.01
    said = found.type.decode(found.examples, made.scores(found.examples, 4), found.classes)
    truth = [found.type.reference(example) for example in found.examples]
    if kind == "regression":
        assert [item.value for item in said] == pytest.approx(truth, abs=0.2)
    else:
        assert [item.value for item in said] == truth


def test_plain_features_count_as_in_the_baseline(base):
    found = material("classification")
    made = Network.build(base, found, Shape(wide=True)).eval()
    nn.init.normal_(made.wide.weight)
    nn.init.zeros_(made.linear.weight)
    rows = made.rows(found.examples, learn=False)
    batch = made.collate(rows)
    units = [unit for item in found.examples for unit in found.type.features(item)]
    expected = made.vocabulary.matrix(units) @ made.wide.weight.detach().numpy()
    scores = (made.emissions(**batch) - made.linear.bias).detach().numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)
