from pathlib import Path

import numpy as np
import pytest
import torch

from steps.core.entry import StepError
from steps.transfer import networks
from steps.transfer.networks import Shape
from steps.transfer.networks.training import Plan, batches
from steps.transfer.networks.tuning import begin, decayed, learn
from steps.transfer.strategies import full, gradual
from tests.families import make_family
from tests.tiny import make_base
from tests.trained import answers, material

KNOBS = {"start": "x", "learning_rate": 5e-3, "batch_tokens": 64, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def settings(**knobs):
    return gradual.Settings(strategy="gradual", **KNOBS | {"epochs": 3} | knobs)


def whole(**knobs):
    return full.Settings(strategy="full", **KNOBS | {"epochs": 1} | knobs)


def test_one_more_layer_moves_at_each_epoch(base, tmp_path):
    made = begin(material("classification", tmp_path), settings(), Shape(), base, 1)
    thaw = gradual.thawing(made)
    moving = []
    for epoch in range(5):
        thaw(epoch)
        moving.append([all(w.requires_grad for w in weights) for weights in made.groups()])
    assert moving == [[depth <= epoch for depth in (3, 2, 1, 0)] for epoch in range(5)]


def test_the_layers_below_the_last_one_thawed_are_as_they_were(base, tmp_path):
    given = material("classification", tmp_path, score=None)  # so that the last epoch is kept
    gradual.fit(given, settings(epochs=2), base, 1, tmp_path / "out")
    before = begin(given, settings(), Shape(pool="concat"), base, 1).encoder.groups()
    after = networks.network("classes").load(base, tmp_path / "out").encoder.groups()
    same = [
        all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
        for old, new in zip(before, after, strict=True)
    ]
    assert same == [True, True, False]


def test_a_run_that_is_taken_up_has_the_layers_frozen_that_were(base, tmp_path):
    """A checkpoint after each step, and an error in the second epoch."""
    knobs = settings(checkpoint_minutes=0.0)
    gradual.fit(material("tokens", tmp_path / "a"), knobs, base, 1, tmp_path / "whole")

    def fail(epoch: int, score: float) -> None:
        if epoch == 1:
            raise InterruptedError

    broken = material("tokens", tmp_path / "b", told=fail)
    with pytest.raises(InterruptedError):
        gradual.fit(broken, knobs, base, 1, tmp_path / "torn")
    gradual.fit(material("tokens", tmp_path / "b"), knobs, base, 1, tmp_path / "torn")
    for name in ("model.safetensors", "head.safetensors"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_rate_is_a_slanted_triangle():
    """The paper's figure 2: 1 / ratio at the beginning, the peak after cut_frac of the steps."""
    rates = [gradual.slanted(step, 1000, 0.1, 32) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 32)
    assert max(rates) == rates[100] == pytest.approx(1)
    assert rates[550] == pytest.approx((1 + 31 / 2) / 32)
    assert rates[1000] == pytest.approx(1 / 32)


def test_a_text_is_read_by_three_vectors_and_a_word_by_one(base, tmp_path):
    widths = {}
    for kind in ("classification", "tokens"):
        given = material(kind, tmp_path / kind)
        gradual.fit(given, settings(epochs=1), base, 1, tmp_path / kind / "out")
        made = networks.network("classes").load(base, tmp_path / kind / "out")
        widths[kind] = made.linear.in_features
    assert widths == {"classification": 96, "tokens": 32}


def test_lower_layers_have_smaller_rates(base, tmp_path):
    """Head and last layer at the full rate, each layer below at a share of the one above."""
    given = material("classification", tmp_path)
    made = begin(given, whole(), Shape(), base, 1)
    groups = decayed(made, whole(weight_decay=0.5), 0.5)
    rates = {id(w): group["lr"] for group in groups for w in group["params"]}
    by_layer = [{rates[id(w)] for w in weights} for weights in made.groups()]
    assert by_layer == [{0.25 * 5e-3}, {0.5 * 5e-3}, {5e-3}, {5e-3}]
    assert all((w.ndim > 1) == bool(g["weight_decay"]) for g in groups for w in g["params"])
    assert len(rates) == len(list(made.parameters()))


def test_dropped_layers_are_gone_and_load_back(base, tmp_path):
    given = material("tokens", tmp_path)
    counts = {}
    for dropped in (0, 1):
        out = tmp_path / str(dropped)
        knobs = whole(dropped_layers=dropped)
        own = material("tokens", tmp_path / f"room-{dropped}")
        full.fit(own, knobs, base, 1, out)
        made = networks.network("classes").load(base, out)
        counts[dropped] = sum(weight.numel() for weight in made.parameters())
        assert len(made.encoder.layers) == 2 - dropped
        assert answers(full, given, base, out) == answers(full, given, base, out)
    layer = sum(w.numel() for w in begin(given, whole(), Shape(), base, 1).encoder.groups()[2])
    assert counts[0] - counts[1] == layer


def test_reinitialised_layers_are_random_by_seed_and_the_others_pretrained(base, tmp_path):
    given = material("classification", tmp_path)
    plain = begin(given, whole(), Shape(), base, 1).encoder.groups()
    drawn = [begin(given, whole(), Shape(), base, seed, 1).encoder.groups() for seed in (1, 1, 2)]

    def same(left, right):
        return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))

    assert [same(a, b) for a, b in zip(plain, drawn[0], strict=True)] == [True, True, False]
    assert same(drawn[0][2], drawn[1][2])
    assert not same(drawn[0][2], drawn[2][2])


def test_another_layout_is_what_is_trained(base, tmp_path):
    given = material("classification", tmp_path)
    made = begin(given, whole(), Shape(), base, 1)
    seen = []

    def layout(sizes: list[int], plan: Plan) -> list[list[np.ndarray]]:
        seen.append(len(sizes))
        return batches(sizes, plan)

    learn(made, given, whole(), decayed(made, whole()), 1, layout=layout)
    assert seen == [8]


@pytest.mark.parametrize(
    ("family", "knobs", "said"),
    [
        ("bert", {"dropped_layers": 2}, "dropped_layers is 2; the model has 2 layers"),
        ("bert", {"reinitialised_layers": 3}, "reinitialised_layers is 3; the model has 2 layers"),
        ("xlm", {"dropped_layers": 1}, "type xlm keeps its layers in parts"),
        ("xlm", {"reinitialised_layers": 1}, "type xlm keeps its layers in parts"),
    ],
)
def test_layers_that_are_not_there_or_in_parts_are_one_line(tmp_path, family, knobs, said):
    start = make_family(family, tmp_path / "start")
    with pytest.raises(StepError, match=said):
        full.fit(material("tokens", tmp_path), whole(**knobs), start, 1, tmp_path / "out")
