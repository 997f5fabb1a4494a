"""Few labels: which pairs are made of them, what they teach, and the head that is fitted after."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file

from steps.core.entry import StepError
from steps.core.files import digest
from steps.tasks import task_type
from steps.transfer import loop
from steps.transfer.networks import Shape, network
from steps.transfer.networks.contrast import Pair, Siamese, pairs
from steps.transfer.strategies import Material, Reading, fewshot
from tests.tiny import EXAMPLES, make_base


@pytest.fixture(autouse=True)
def exact(monkeypatch: Any) -> None:
    """What is worked out by hand is compared in float32, also where halves are fast."""
    monkeypatch.setattr(loop, "half", lambda where: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: Any) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def material(kind: str, room: Path, **given: Any) -> Material:
    examples, module = EXAMPLES[kind](8), task_type(kind)
    classes = module.classes(module.labels(examples))
    return Material(kind, classes, examples, 32, room=room, **given)


def settings(**knobs: Any) -> fewshot.Settings:
    few = {"learning_rate": 2e-3, "epochs": 3, "batch_tokens": 128}
    return fewshot.Settings(strategy="fewshot", start="", **few | knobs)


@pytest.mark.parametrize("kind", ["classification", "sentiment", "pairs"])
def test_it_learns_its_own_eight_examples_exactly(base, tmp_path, kind):
    used = material(kind, tmp_path / "room")
    figures = fewshot.fit(used, settings(inverse_regularisation=10.0), base, 1, tmp_path / "out")
    assert figures["losses"][-1] < figures["losses"][0]
    raws = fewshot.load(base, tmp_path / "out")(Reading(3), used.examples)
    said = used.type.decode(used.examples, raws, used.classes)
    assert [item.value for item in said] == [example["label"] for example in used.examples]


def test_the_same_seed_gives_the_same_bytes_and_another_others(base, tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        used = material("classification", tmp_path / "room" / name)
        fewshot.fit(used, settings(epochs=1), base, seed, tmp_path / name)
    assert digest(tmp_path / "one") == digest(tmp_path / "again") != digest(tmp_path / "other")


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bytes(base, tmp_path):
    def judge(values: list[str]) -> float:
        return float(np.mean([value == "fix" for value in values]))

    def kill(epoch: int, score: float) -> None:
        if epoch == 1:
            raise Killed

    often = settings(checkpoint_minutes=0.0)
    used = material("classification", tmp_path / "room", score=judge)
    used = replace(used, validation=used.examples[::2])
    with pytest.raises(Killed):
        fewshot.fit(replace(used, told=kill), often, base, 1, tmp_path / "none")
    assert (tmp_path / "room/seed-1/checkpoint.pt").exists()
    resumed = fewshot.fit(used, often, base, 1, tmp_path / "resumed")
    whole = fewshot.fit(replace(used, room=tmp_path / "new"), often, base, 1, tmp_path / "whole")
    assert resumed == whole
    assert len(whole["scores"]) == 3
    assert digest(tmp_path / "resumed") == digest(tmp_path / "whole")


def test_the_head_is_fitted_on_the_encoder_that_is_kept(base, tmp_path):
    used = material("classification", tmp_path / "room")
    fewshot.fit(used, settings(), base, 1, tmp_path / "out")
    made = network("classes").load(base, tmp_path / "out")
    saved = load_file(tmp_path / "out/head.safetensors")
    fewshot._fit_head(made, used, 1.0)
    np.testing.assert_allclose(made.linear.weight.detach(), saved["linear.weight"], atol=1e-4)
    begun = network("classes").build(base, used, Shape()).encoder.state_dict()
    moved = made.encoder.state_dict()
    assert not all(torch.equal(part, begun[name]) for name, part in moved.items())


def test_pairs_are_all_of_a_class_and_as_many_with_another():
    classes = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    found = pairs(classes, [3] * 8, 500, 1)
    same = [(pair.left, pair.right) for pair in found if pair.same]
    alike = {(a, b) for a in range(8) for b in range(a + 1, 8) if classes[a] == classes[b]}
    assert set(same) == alike
    assert len(same) == len(alike) == 9
    others = [(classes[pair.left], classes[pair.right]) for pair in found if not pair.same]
    assert all(left != right for left, right in others)
    assert [sum(left == number for left, _ in others) for number in range(3)] == [6, 3, 1]
    assert all(pair.size == 6 for pair in found)
    few = pairs(classes, [3] * 8, 2, 1)
    assert [sum(pair.same == same for pair in few) for same in (True, False)] == [4, 5]
    assert few == pairs(classes, [3] * 8, 2, 1) != pairs(classes, [3] * 8, 2, 2)


def test_one_class_alone_has_no_pairs_with_another():
    assert all(pair.same for pair in pairs(np.zeros(3, dtype=np.int64), [1] * 3, 9, 1))


def test_the_loss_is_how_far_cosines_are_from_one_and_zero(base, tmp_path):
    used = material("classification", tmp_path)
    made = network("classes").build(base, used, Shape())
    rows = made.rows(used.examples, learn=True)
    chosen = [Pair(0, 3, True, 9), Pair(0, 1, False, 9), Pair(4, 1, True, 9)]
    siamese = Siamese(made, rows)
    batch = siamese.collate(chosen)
    assert len(batch["ids"]) == 4  # each example is read once
    vectors = made.units(rows)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = [vectors[pair.left] @ vectors[pair.right] for pair in chosen]
    expected = np.mean((np.array(cosines) - [1, 0, 1]) ** 2)
    with torch.no_grad():
        assert float(siamese(**batch)) == pytest.approx(expected, abs=1e-5)


def test_labels_of_words_are_one_line(base, tmp_path):
    with pytest.raises(StepError, match="is for labels of whole texts, and tokens labels words"):
        fewshot.fit(material("tokens", tmp_path), settings(), base, 1, tmp_path / "out")


def test_the_defaults_are_setfits_and_class_weights_are_refused():
    plain = fewshot.Settings(strategy="fewshot", start="x")
    assert (plain.learning_rate, plain.epochs) == (2e-5, 1)
    with pytest.raises(ValidationError):
        settings(class_weights=True)
