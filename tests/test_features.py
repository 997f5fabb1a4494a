"""A frozen encoder: it reads a text once, and what is learned above it is as if it were there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from steps.core.entry import StepError
from steps.core.files import digest
from steps.tasks import task_type
from steps.transfer.networks import Shape, frozen
from steps.transfer.networks.encoder import Encoder
from steps.transfer.networks.units import Network
from steps.transfer.strategies import Material, Reading, features
from tests.tiny import EXAMPLES, make_base

STEPS = {"learning_rate": 2e-2, "epochs": 15, "batch_tokens": 64, "weight_decay": 0.0, "lstm": 16}
HEADS = [
    ("tokens", "last", "crf"),
    ("classification", "mix", "linear"),
    ("multilabel", "mix", "linear"),
    ("tokens", "mix", "bilstm_crf"),
    ("tags", "last", "bilstm_crf"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def material(kind: str, room: Path, max_tokens: int = 64) -> Material:
    found = EXAMPLES[kind](8)
    module = task_type(kind)
    classes = module.classes(module.labels(found))
    truth = [module.reference(example) for example in found]

    def score(values):
        return float(np.mean([a == b for a, b in zip(values, truth, strict=True)]))

    return Material(kind, classes, found, max_tokens, found, score, room=room)


def settings(layers: str, head: str, **more):
    said = {"strategy": "features", "start": "x", "layers": layers, "head": head}
    return features.Settings(**said | STEPS | more)


@pytest.mark.parametrize(("kind", "layers", "head"), HEADS)
def test_it_learns_its_own_eight_examples_and_the_same_bytes(base, tmp_path, kind, layers, head):
    found, chosen = material(kind, tmp_path / "room"), settings(layers, head)
    assert features.seeded(chosen)
    figures = features.fit(found, chosen, base, 1, tmp_path / "one")
    raws = features.load(base, tmp_path / "one")(Reading(3), found.examples)
    said = found.type.decode(found.examples, raws, found.classes)
    assert [item.value for item in said] == [found.type.reference(e) for e in found.examples]
    assert max(figures["scores"]) == 1
    again = features.fit(material(kind, tmp_path / "other"), chosen, base, 1, tmp_path / "two")
    assert again == figures
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert not (tmp_path / "one" / "model.safetensors").exists()
    features.fit(found, chosen, base, 2, tmp_path / "three")
    assert digest(tmp_path / "three") != digest(tmp_path / "two")


def test_no_epoch_and_no_other_seed_has_the_encoder_read(base, tmp_path, monkeypatch):
    passes = []
    run = Encoder._run

    def counted(self, inputs, **more):
        passes.append(len(inputs.ids))
        return run(self, inputs, **more)

    monkeypatch.setattr(Encoder, "_run", counted)
    found = material("tokens", tmp_path / "room")
    for seed in (1, 2):
        features.fit(found, settings("mix", "bilstm_crf", epochs=3), base, seed, tmp_path / "a")
    assert passes == [8, 8]  # training and validation


def test_vectors_that_lie_on_disk_teach_the_same(base, tmp_path, monkeypatch):
    found = material("tokens", tmp_path / "room")
    made = Network.build(base, found, Shape(frozen=True, mix=True))
    held = frozen.read_once(made, made.rows(found.examples, learn=True), tmp_path / "no.vectors")
    monkeypatch.setattr(frozen, "LARGE", 0)
    file = tmp_path / "some" / "there.vectors"
    lying = frozen.read_once(made, made.rows(found.examples, learn=True), file)
    assert file.stat().st_size * 2 == sum(example.vectors.nbytes for example in held)
    for left, right in zip(held, lying, strict=True):
        assert left.vectors.shape == (len(left.units), 3, 32)
        np.testing.assert_allclose(left.vectors, right.vectors, atol=5e-3)
    loss = made(**made.collate(lying))
    torch.testing.assert_close(made(**made.collate(held)), loss, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_a_head_says_the_same_of_vectors_that_were_kept(base, tmp_path, kind):
    found = material(kind, tmp_path / "room", max_tokens=8)  # so that texts have several windows
    shape = Shape(frozen=True, mix=True, crf=kind == "tokens", lstm=4 if kind == "tokens" else 0)
    torch.manual_seed(0)
    made = Network.build(base, found, shape)
    torch.nn.init.normal_(made.mix.weights)
    rows = made.rows(found.examples, learn=False)
    kept = made.answers(frozen.read_once(made, rows, tmp_path / "x"), len(found.examples), 3)
    for left, right in zip(kept, made.scores(found.examples, 8), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_a_text_may_be_pooled_before_its_layers_are_mixed(base, tmp_path):
    found = material("classification", tmp_path)
    made = Network.build(base, found, Shape(frozen=True, mix=True))
    torch.nn.init.normal_(made.mix.weights)
    rows = made.rows(found.examples, learn=False)
    inputs = made.encoder.inputs([row for example in rows for row in example.rows])
    mixed = made.mix(made.encoder.every_layer(inputs))
    expected = made.pool(mixed, inputs.mask)
    torch.testing.assert_close(made.vectors(made.collate(rows)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("wide", [False, True])
def test_a_plain_head_on_the_last_layer_needs_no_seed(base, tmp_path, wide):
    chosen = settings("last", "linear", wide=wide, inverse_regularisation=1e4)
    assert not features.seeded(chosen)
    found = material("tokens", tmp_path / "room")
    assert features.fit(found, chosen, base, 1, tmp_path / "out") == {}
    assert (tmp_path / "out" / "vocabulary.json").exists() == wide
    raws = features.load(base, tmp_path / "out")(Reading(3), found.examples)
    said = found.type.decode(found.examples, raws, found.classes)
    assert [item.value for item in said] == [found.type.reference(e) for e in found.examples]


def test_retrieval_compares_frozen_vectors_without_training(base, tmp_path):
    found = Material("retrieval", [], EXAMPLES["retrieval"](4), 64, room=tmp_path / "room")
    assert features.fit(found, settings("last", "linear"), base, 1, tmp_path / "out") == {}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"network.json"}
    raws = features.load(base, tmp_path / "out")(Reading(2), found.examples)
    assert {len(raw[name]) for raw in raws for name in ("query", "passage")} == {32}
    with pytest.raises(StepError, match="mix"):
        features.fit(found, settings("mix", "linear"), base, 1, tmp_path / "out")


def test_a_bilstm_for_a_text_as_a_whole_is_one_line(base, tmp_path):
    found = material("classification", tmp_path)
    with pytest.raises(StepError, match="a task of type classification has none to label"):
        features.fit(found, settings("last", "bilstm_crf"), base, 1, tmp_path / "out")
