"""What finds passages: the loss by hand, batches of two at least, and an encoder left as it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steps.core.entry import StepError
from steps.tasks import task_type
from steps.transfer import loop
from steps.transfer.networks import Shape
from steps.transfer.networks.training import Plan, batches
from steps.transfer.networks.vector import SCALE, Network
from steps.transfer.strategies import Material, Reading, full
from tests.families import make_family
from tests.tiny import EXAMPLES, make_base

KNOBS = {"learning_rate": 2e-3, "epochs": 15, "batch_tokens": 128}


@pytest.fixture(autouse=True)
def exact(monkeypatch: Any) -> None:
    """What is worked out by hand is compared in float32, also where halves are fast."""
    monkeypatch.setattr(loop, "half", lambda where: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: Any) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def material(count: int = 8, examples: list[dict[str, Any]] | None = None) -> Material:
    return Material("retrieval", [], examples or EXAMPLES["retrieval"](count), 32)


def ranks(raws: list[Any], items: list[dict[str, Any]]) -> list[int]:
    return [said.value for said in task_type("retrieval").decode(items, raws, [])]


def test_it_finds_the_passages_that_it_was_trained_on(base, tmp_path):
    used, settings = material(), full.Settings(strategy="full", start="", **KNOBS)
    full.fit(replace(used, room=tmp_path / "room"), settings, base, 1, tmp_path / "out")
    raws = full.load(base, tmp_path / "out")(Reading(32), used.examples)
    assert ranks(raws, used.examples) == [1] * 8
    untrained = Network.build(base, used, Shape()).scores(used.examples, 32)
    assert ranks(untrained, used.examples) != [1] * 8


@pytest.mark.parametrize("family", ["roberta", "gpt2", "t5"])
def test_a_vector_does_not_depend_on_its_batch(tmp_path, family):
    made = Network.build(make_family(family, tmp_path), material(), Shape())
    items = [*EXAMPLES["retrieval"](5), {"text": "a " * 50, "target": "crash"}, {"text": "view"}]
    together, alone = made.scores(items, 32), made.scores(items[::-1], 1)[::-1]
    for left, right in zip(together, alone, strict=True):
        np.testing.assert_allclose(left["query"], right["query"], atol=1e-5)
    assert np.linalg.norm(together[0]["passage"]) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(together[0]["passage"], alone[0]["passage"], atol=1e-5)
    assert together[-1]["passage"] is None


def test_the_loss_counts_no_right_passage_as_a_wrong_one(base):
    said = [("fixed a crash", "the view"), ("user", "the view"), ("user", "a model"), ("new", "a")]
    examples = [{"text": text, "target": target} for text, target in said]
    made = Network.build(base, material(examples=examples), Shape())
    raws = made.scores(examples, 8)
    cosines = np.array([[q["query"] @ p["passage"] for p in raws] for q in raws])
    others = {0: [1], 1: [0, 2], 2: [0, 1], 3: []}  # "user" is answered by two
    losses = []
    for own, left_out in others.items():
        kept = [n for n in range(4) if n not in left_out]
        losses.append(np.log(np.exp(SCALE * (cosines[own, kept] - cosines[own, own])).sum()))
    with torch.no_grad():
        loss = float(made(**made.collate(made.rows(examples, learn=True))))
    assert loss == pytest.approx(np.mean(losses), abs=1e-4)


def test_no_batch_has_one_pair_alone(base):
    plan = Plan(3, 20, 0, 1, 5.0, rate=lambda step, steps: 1.0)
    sizes = [4, 9, 12, 18, 19, 30, 6]
    laid = Network.layout(sizes, plan)
    assert any(len(batch) == 1 for epoch in batches(sizes, plan) for batch in epoch)
    for epoch in laid:
        assert all(len(batch) > 1 for batch in epoch)
        assert sorted(np.concatenate(epoch).tolist()) == list(range(7))


def test_one_example_is_learned_from_in_vain_and_does_no_harm(base, tmp_path):
    used = replace(material(1), room=tmp_path / "room")
    settings = full.Settings(strategy="full", start="", **KNOBS | {"epochs": 2})
    found = full.fit(used, settings, base, 1, tmp_path / "out")
    assert found["losses"] == [0.0, 0.0]


def test_a_frozen_encoder_answers_untrained_and_saves_no_weights(base, tmp_path):
    items = EXAMPLES["retrieval"](4)
    made = Network.build(base, material(), Shape(frozen=True))
    made.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["network.json"]
    raws = Network.load(base, tmp_path).scores(items, 3)
    assert sorted(ranks(raws, items))[-1] <= 4
    (row,) = made._read(items[:1], ("text",))
    with torch.no_grad():
        hidden = made.encoder(made.encoder.inputs([row]))[0].mean(dim=0)
    expected = (hidden / hidden.norm()).numpy()
    np.testing.assert_allclose(raws[0]["query"], expected, atol=1e-5)
    assert not list(made.parameters())


def test_dropped_layers_are_left_out_and_another_networks_knob_is_one_line(base, tmp_path):
    made = Network.build(base, material(), Shape(dropped=1))
    made.save(tmp_path)
    again = Network.load(base, tmp_path)
    assert len(again.groups()) == len(again.encoder.layers) + 1 == 2
    with pytest.raises(StepError, match="has no pool"):
        Network.build(base, material(), Shape(pool="concat"))
