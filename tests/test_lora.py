import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steps.core.files import digest
from steps.transfer import networks
from steps.transfer.networks import Shape
from steps.transfer.networks.tuning import begin, decayed, learn
from steps.transfer.strategies import lora
from tests.families import make_family
from tests.tiny import make_base
from tests.trained import answers, material

FAMILIES = ("bert", "gpt2", "t5")  # linear layers; GPT-2's own kind; an encoder with a decoder
CASES = [("bert", "lora"), ("gpt2", "lora"), ("t5", "lora"), ("gpt2", "ia3"), ("t5", "ia3")]


@pytest.fixture(scope="module")
def starts(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("starts")
    made = {kind: make_family(kind, root / kind) for kind in FAMILIES}
    return made | {"tiny": make_base(root / "tiny")}


def settings(**knobs):
    common = {"start": "x", "learning_rate": 5e-2, "epochs": 2, "batch_tokens": 64}
    return lora.Settings(strategy="lora", **common | knobs)


@pytest.mark.parametrize(("family", "method"), CASES)
def test_merged_weights_predict_as_the_adapters_did(starts, tmp_path, monkeypatch, family, method):
    monkeypatch.setattr("steps.transfer.loop.half", lambda where: None)  # to 1e-5
    given, knobs = material("tokens", tmp_path, score=None), settings(method=method)
    made = begin(given, knobs, Shape(), starts[family], 1)
    before = made.scores(given.examples, 8)
    tuner = lora.adapt(made, knobs)
    learn(made, given, knobs, decayed(made, knobs), 1)
    beside = made.scores(given.examples, 8)
    tuner.merge_and_unload()
    made.save(tmp_path / "out")
    loaded = networks.network("classes").load(starts[family], tmp_path / "out")
    merged = loaded.scores(given.examples, 8)
    np.testing.assert_allclose(np.concatenate(merged), np.concatenate(beside), atol=1e-5)
    assert abs(np.concatenate(merged) - np.concatenate(before)).max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_is_adapted_has_moved(starts, tmp_path, family):
    given = material("classification", tmp_path, score=None)
    before = begin(given, settings(), Shape(), starts[family], 1).encoder.model
    layers = lora.linear_layers(before)
    lora.fit(given, settings(), starts[family], 1, tmp_path / "out")
    after = load_file(tmp_path / "out" / "model.safetensors")
    state = before.state_dict()
    assert after.keys() == state.keys()
    moved = {name for name, part in state.items() if not torch.equal(part, after[name])}
    assert moved == {f"{name}.weight" for name in layers}
    assert len(layers) >= 2 * 4


def test_the_parameters_trained_are_counted(starts, tmp_path):
    """Of a linear layer rank * (inputs + outputs), or its outputs; and the head's."""
    given = material("classification", tmp_path)
    square, wide = 2 * 4, 2 * 2  # layers of 32 x 32, and of 32 x 64 or 64 x 32
    head = 32 * 3 + 3
    first = lora.fit(given, settings(rank=2), starts["tiny"], 1, tmp_path / "lora")
    assert first["parameters_trained"] == square * 2 * 64 + wide * 2 * 96 + head
    given = material("classification", tmp_path / "other")
    second = lora.fit(given, settings(method="ia3"), starts["tiny"], 1, tmp_path / "ia3")
    assert second["parameters_trained"] == square * 32 + 2 * (32 + 64) + head


@pytest.mark.parametrize(("kind", "family"), [("translation", "t5"), ("generation", "gpt2")])
def test_a_model_that_writes_is_adapted_but_for_its_words(starts, tmp_path, kind, family):
    given = material(kind, tmp_path)
    lora.fit(given, settings(epochs=1), starts[family], 1, tmp_path / "out")
    base = load_file(starts[family] / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    moved = {name for name, part in base.items() if not torch.equal(part, after[name])}
    assert moved
    assert not [name for name in moved if "shared" in name or "wte" in name or "lm_head" in name]
    assert len(answers(lora, given, starts[family], tmp_path / "out")) == 8


def test_a_run_that_is_taken_up_ends_in_the_same_bytes(starts, tmp_path):
    knobs = settings(checkpoint_minutes=0.0, dropout=0.1)
    lora.fit(material("tokens", tmp_path / "a"), knobs, starts["tiny"], 1, tmp_path / "whole")

    def fail(epoch: int, score: float) -> None:
        if epoch == 1:
            raise InterruptedError

    broken = material("tokens", tmp_path / "b", told=fail)
    with pytest.raises(InterruptedError):
        lora.fit(broken, knobs, starts["tiny"], 1, tmp_path / "torn")
    lora.fit(material("tokens", tmp_path / "b"), knobs, starts["tiny"], 1, tmp_path / "torn")
    assert digest(tmp_path / "torn") == digest(tmp_path / "whole")


def test_peft_is_loaded_where_it_is_used_alone():
    code = "import sys, steps.transfer.strategies.lora; assert 'peft' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
