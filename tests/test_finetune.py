"""Fine-tuning: what is trained on, which epoch is kept, and that a kill changes nothing."""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from steps import finetune as stage
from steps.core.files import digest, read_json, read_rows, write_rows
from steps.core.params import load
from steps.transfer import networks, resume
from steps.transfer.loop import set_dropout
from steps.transfer.networks import Shape
from steps.transfer.networks.training import Plan, Trained, batches, train
from steps.transfer.networks.tuning import class_weights
from steps.transfer.schedules import share
from steps.transfer.strategies import Diverged, Material
from tests.forked import Stage, run
from tests.tiny import classified, make_base
from tests.tiny_finetune import SCHEMA, STAGE, project

LABELS = ["doc", "feature", "fix"]
Ready = Callable[[], bool]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def at_home(base, tmp_path, monkeypatch) -> Iterator[Path]:
    """A tiny project; the test stands in its folder."""
    monkeypatch.chdir(project(tmp_path / "project", base, {"checkpoint_minutes": 1000}))
    load.cache_clear()
    yield Path()
    load.cache_clear()


def finetune() -> dict[str, Any]:
    """Run the stage in this process; return its metrics."""
    load.cache_clear()
    stage.main(*STAGE[1:3], *map(Path, STAGE[3:]))
    return read_json(Path("metrics.json"))


def plan(scores: list[float], **changed: Any) -> Plan:
    """A plan whose epochs have these scores."""
    found = iter(scores)
    usual = Plan(
        epochs=len(scores),
        batch_tokens=48,
        patience=0,
        seed=1,
        checkpoint_minutes=0,
        rate=lambda step, steps: share("linear", step, steps, 0.1),
        score=lambda: next(found),
    )
    return replace(usual, **changed)


class Network:
    """A tiny network with its rows and groups of weights, as a strategy hands them to `train`."""

    def __init__(self, base: Path, room: Path) -> None:
        torch.manual_seed(0)
        examples = classified(18)
        material = Material("classification", LABELS, examples, 64)
        self.made = networks.network("classes").build(base, material, Shape())
        set_dropout(self.made, 0.1)
        self.rows, self.room = self.made.rows(examples, learn=True), room
        self.groups = [{"params": list(self.made.parameters()), "lr": 1e-3}]

    def train(self, plan: Plan) -> Trained:
        return train(self.made, self.rows, self.groups, plan, self.room)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: part.clone() for name, part in self.made.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left | right)


def test_training_killed_at_random_moments_ends_in_the_same_bytes(base, tmp_path):
    whole = project(tmp_path / "whole", base)
    run(whole, *STAGE)
    folder, chance = project(tmp_path / "killed", base), random.Random(5)
    kill, stop = signal.SIGKILL, signal.SIGTERM
    for number, ready in (
        (kill, (folder / "said.log").exists),  # while it loads
        (kill, written(folder, chance.randrange(1, 5))),
        (stop, written(folder, chance.randrange(1, 5))),
        (kill, lambda: any(rooms(folder, "done-1"))),  # between two seeds
        (kill, written(folder, chance.randrange(1, 5))),
        (stop, written(folder, chance.randrange(1, 5))),
    ):
        process = Stage(folder, *STAGE)
        assert process.hit(number, ready), "it had come to its end"
        status, said = process.end()
        assert not (folder / "candidate").exists()
        if number == stop:
            assert status == 128 + stop
            assert "Traceback" not in said
            done = int(said.split("stopped after step ")[1].split()[0])
            steps = [resume.restore(room)["step"] for room in rooms(folder, "seed-*")]
            assert done in steps
    run(folder, *STAGE)
    assert digest(folder / "candidate") == digest(whole / "candidate")
    assert not list((folder / ".outplant/checkpoints").iterdir())


def rooms(folder: Path, name: str) -> Iterator[Path]:
    return (folder / ".outplant/checkpoints").glob(f"*/{name}")


def written(folder: Path, more: int) -> Ready:
    """Until so many checkpoints are written, as far as anyone saw."""
    seen: set[tuple[Path, int]] = set()

    def ready() -> bool:
        for file in rooms(folder, "seed-*/checkpoint.pt"):
            with suppress(FileNotFoundError):
                seen.add((file, file.stat().st_mtime_ns))
        return len(seen) > more

    return ready


def test_an_epoch_that_is_cut_short_is_taken_up_to_the_same_weights(base, tmp_path):
    scores, whole = [0.4, 0.7, 0.6, 0.5], Network(base, tmp_path / "whole")
    expected = whole.train(plan(scores))
    for cut in (0, 2, 3):  # before the best epoch, and after it

        def told(epoch: int, score: float, cut: int = cut) -> None:
            if epoch == cut:
                raise InterruptedError

        room = tmp_path / f"cut-{cut}"
        with pytest.raises(InterruptedError):
            Network(base, room).train(plan(scores, told=told))
        again = Network(base, room)
        found = again.train(plan(scores[cut:], epochs=len(scores)))
        assert vars(found) == vars(expected)
        assert same(again.weights(), whole.weights())


def test_the_best_epoch_is_the_one_kept(base, tmp_path):
    network, seen = Network(base, tmp_path), []
    scores = [0.4, 0.7, 0.6, 0.7]

    def score() -> float:
        seen.append(network.weights())
        return scores[len(seen) - 1]

    found = network.train(plan(scores, score=score))
    assert found.epoch == 1
    assert found.scores == scores
    assert same(network.weights(), seen[1])
    assert not same(network.weights(), seen[3])
    assert found.losses[-1] < found.losses[0]


def test_a_loss_that_becomes_no_number_is_one_line(base, tmp_path):
    network = Network(base, tmp_path)
    with pytest.raises(Diverged, match="loss of epoch 1 is nan; expected a number: take a smaller"):
        network.train(plan([0.0], rate=lambda *_: 1e37))


def test_patience_ends_training_so_many_epochs_after_the_best(base, tmp_path):
    found = Network(base, tmp_path).train(plan([0.4, 0.7, 0.6, 0.5, 0.9, 1.0], patience=2))
    assert found.scores == [0.4, 0.7, 0.6, 0.5]
    assert found.epoch == 1


def test_the_epoch_that_is_kept_is_the_one_evaluated(at_home):
    said = finetune()
    for seed in ("1", "2"):
        figures = read_json(Path(f"candidate/seed-{seed}/figures.json"))
        assert len(figures["scores"]) == 3
        assert figures["epoch"] == np.argmax(figures["scores"])
        assert figures["validation"] == max(figures["scores"])
        kept = {name: figures[name] for name in ("epoch", "validation")}
        assert said["seeds"][seed] == kept


def test_validation_never_trains(at_home):
    """With one epoch there is nothing to choose: other validation examples, the same weights."""
    change(epochs=1)
    finetune()
    before = {name: digest(weights(name)) for name in ("seed-1", "seed-2")}
    examples = read_rows(Path("splits/validation.parquet"))
    others = [row | {"text": f"view {row['text']} page", "label": "doc"} for row in examples]
    write_rows(Path("splits/validation.parquet"), others, SCHEMA)
    finetune()
    assert {name: digest(weights(name)) for name in ("seed-1", "seed-2")} == before


def weights(name: str) -> Path:
    return Path("candidate") / name / "model.safetensors"


def change(**knobs: Any) -> None:
    """Change knobs of the recipe `full`."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["recipes"]["full"] |= knobs
    Path("params.yaml").write_text(yaml.safe_dump(params))


def test_a_seed_that_says_one_thing_only_is_named_and_kept(at_home, capsys):
    change(learning_rate=5.0, epochs=1)
    said = finetune()
    assert said["degenerate_seeds"] == [1, 2]
    assert set(said["seeds"]) == {"1", "2"}
    assert weights("seed-1").exists()
    assert "warning: seed 1 says the same of every validation example" in capsys.readouterr().out


def test_class_weights_make_all_classes_weigh_alike_in_the_loss(base):
    examples = [row for row in classified(30) if row["label"] != "doc" or row["id"] < "0005"]
    material = Material("classification", LABELS, examples, 64)
    counts = {label: sum(row["label"] == label for row in examples) for label in LABELS}
    assert counts == {"doc": 1, "feature": 10, "fix": 10}
    weights = class_weights(material)
    assert weights.tolist() == pytest.approx([21 / (3 * 1), 21 / (3 * 10), 21 / (3 * 10)])

    made = networks.network("classes").build(base, material, Shape())
    batch = made.collate(made.rows(examples, learn=True))
    targets = batch["targets"]
    given = {name: part for name, part in batch.items() if name != "targets"}
    with torch.inference_mode():
        each = functional.cross_entropy(made.emissions(**given), targets, reduction="none")
        plain = made(**batch)
        made.weights = weights
        weighted = made(**batch)
    by_class = [float(each[targets == number].mean()) for number in range(3)]
    assert float(plain) == pytest.approx(float(each.mean()), abs=1e-5)
    assert float(weighted) == pytest.approx(np.mean(by_class), abs=1e-5)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    budget=st.integers(1, 200),
    seed=st.integers(0, 3),
)
def test_a_batch_is_within_its_budget_and_each_row_is_in_one_batch_an_epoch(sizes, budget, seed):
    found = batches(sizes, plan([0.0, 0.0], batch_tokens=budget, seed=seed))
    assert len(found) == 2
    for epoch in found:
        assert sorted(np.concatenate(epoch)) == list(range(len(sizes)))
        for batch in epoch:
            padded = len(batch) * max(sizes[row] for row in batch)
            assert padded <= budget or len(batch) == 1


def test_the_order_of_batches_is_the_seeds_own_and_another_each_epoch():
    sizes = np.random.default_rng(0).integers(3, 40, size=200).tolist()
    first, again = (batches(sizes, plan([0.0, 0.0], seed=1)) for _ in range(2))
    orders = [np.concatenate(epoch).tolist() for epoch in first]
    assert orders == [np.concatenate(epoch).tolist() for epoch in again]
    assert orders[0] != orders[1]
    other = batches(sizes, plan([0.0, 0.0], seed=2))
    assert orders[0] != np.concatenate(other[0]).tolist()


def test_rows_of_like_lengths_are_together_so_that_little_is_padding():
    sizes = np.random.default_rng(0).integers(3, 100, size=2000).tolist()
    (epoch,) = batches(sizes, plan([0.0], batch_tokens=2048))
    padded = sum(len(batch) * max(sizes[row] for row in batch) for batch in epoch)
    assert padded < 1.05 * sum(sizes)
