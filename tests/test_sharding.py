"""Adaptation by many ranks that each keep a part of the weights."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from steps.core.files import read_json
from steps.transfer.adaptation import freeze
from steps.transfer.sharding import Sharded
from steps.transfer.step import Stepper, Weights
from tests.families import FAMILIES, make_family
from tests.test_adapt import ADAPT, ROOT, TWO_CPUS, history, project, run
from tests.test_families import loss_of, make_run

BIN = Path(sys.executable).parent
ACCELERATE = f"{BIN}/accelerate launch --use_fsdp --num_processes 2 --main_process_port 0"
TORCHRUN = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2"
SINGLE = {"dropout": 0.0, "checkpoint_steps": 1000}  # dropout's chance is a rank's own
EPSILON = 1e-5
WITHOUT_HEAD = ("gpt2", "llama", "mistral", "qwen2", "t5", "bart", "marian")  # of its own weights


def launch(folder: Path, launcher: str) -> subprocess.Popen[str]:
    """Start the stage as a user does who has set the variables of infra/README.md."""
    settings = {"OUTPLANT_LAUNCH": launcher, "ACCELERATE_USE_FSDP": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", "steps.adapt", *ADAPT[1:]],
        cwd=folder,
        env=os.environ | settings | TWO_CPUS | {"PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = project(tmp_path_factory.mktemp("alone") / "project", SINGLE)
    run(folder, *ADAPT)
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A sharded run that a signal ended between two steps, and what it said."""
    folder = project(tmp_path_factory.mktemp("stopped") / "project", SINGLE)
    process = launch(folder, ACCELERATE)
    while process.poll() is None and len(history(folder)) < 9:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(signal.SIGTERM)
    said, wrong = process.communicate(timeout=120)
    assert process.returncode != 0
    return folder, said, wrong


@pytest.fixture(scope="module")
def sharded(stopped: tuple[Path, str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, taken up again."""
    folder = shutil.copytree(stopped[0], tmp_path_factory.mktemp("sharded") / "project")
    process = launch(folder, TORCHRUN)
    said, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, said + wrong
    assert said.count("resumed after step") == said.count("held-out loss after") == 1
    return folder


def curve(folder: Path) -> list[float]:
    return [row["loss"] for row in read_json(folder / "plot.json")]


@pytest.mark.slow
def test_two_sharded_ranks_take_the_steps_of_one(alone: Path, sharded: Path) -> None:
    assert curve(sharded) == pytest.approx(curve(alone), abs=1e-4)
    one, two = (read_json(folder / "metrics.json") for folder in (alone, sharded))
    for when in ("before", "warm", "after"):
        name = f"held_out_loss_{when}"
        assert two[name] == pytest.approx(one[name], abs=1e-4)
    assert two["device_seconds"] == pytest.approx(2 * two["seconds"], abs=0.11)


@pytest.mark.slow
def test_a_signal_stops_all_ranks_and_the_first_alone_says_so(
    stopped: tuple[Path, str, str],
) -> None:
    folder, said, wrong = stopped
    assert said.count("stopped after step") == said.count("held-out loss before") == 1
    done = int(said.split("stopped after step ")[1].split()[0])
    assert done == len(history(folder)) >= 9
    assert "error:" not in wrong


@pytest.mark.slow
def test_a_run_stopped_on_two_ranks_goes_on_alone(
    alone: Path, stopped: tuple[Path, str, str], tmp_path: Path
) -> None:
    folder = shutil.copytree(stopped[0], tmp_path / "project")
    assert "resumed after step" in run(folder, *ADAPT)
    assert curve(folder) == pytest.approx(curve(alone), abs=1e-4)


@pytest.mark.slow
def test_the_model_is_saved_whole_in_the_same_files(alone: Path, sharded: Path) -> None:
    one, two = (folder / "models/dapt" for folder in (alone, sharded))
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())
    assert (one / "config.json").read_bytes() == (two / "config.json").read_bytes()
    same(*(load_file(folder / "model.safetensors") for folder in (one, two)))
    assert not list((sharded / ".outplant/checkpoints").iterdir())


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(two)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-4, rtol=0, msg=name)


@pytest.mark.slow
def test_a_batch_that_ranks_cannot_share_is_one_line(tmp_path: Path) -> None:
    folder = project(tmp_path / "project", SINGLE | {"batch_tokens": 96})
    process = launch(folder, TORCHRUN)
    _, wrong = process.communicate(timeout=120)
    assert process.returncode == 1
    said, summary = wrong.split("\n", 1)
    assert said.startswith("error: a step of 3 blocks of 32 tokens cannot be shared")
    assert "let batch_tokens be 64 or 128" in said
    assert said in summary  # the launcher's, which comes last


def test_what_cannot_be_launched_is_one_line(alone: Path) -> None:
    process = launch(alone, "torchwalk --nproc-per-node 2")
    _, wrong = process.communicate(timeout=120)
    assert process.returncode == 1
    assert wrong.startswith("error: OUTPLANT_LAUNCH begins with 'torchwalk', which cannot be run")
    assert wrong.count("\n") == 1


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_sharded_model_of_every_family_learns_the_same(
    tmp_path: Path, kind: str, group: None
) -> None:
    base = make_family(kind, tmp_path / "base")
    found = []
    for made in (Weights, Sharded):
        adaptation, held = make_run(base, tmp_path / "room")
        weights = adaptation.weights = made(adaptation.weights.model, None)
        figures, batches = [loss_of(adaptation, held)], adaptation._batches(0)
        for whole in (kind in WITHOUT_HEAD, True):
            freeze(weights.model, whole)
            stepper = Stepper(weights, 5e-3)
            # with its own 1e-8 AdamW moves a weight whose gradient is nearly nothing by all its
            # rate, up or down as a sum was rounded: 8.5e-5 by another number of threads alone
            for moved in stepper.optimiser.param_groups:
                moved["eps"] = EPSILON
            for step in range(2):
                row = adaptation._step(stepper, next(batches), step, 5e-3)
                figures += [row["loss"], row["gradient_norm"]]
        with weights.complete() as model:
            model.save_pretrained(tmp_path / made.__name__)
        found.append([*figures, loss_of(adaptation, held)])
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    same(*(load_file(tmp_path / n / "model.safetensors") for n in ("Weights", "Sharded")))


def test_sharded_weights_are_gathered_in_half_precision_and_kept_exact(
    tmp_path: Path, group: None
) -> None:
    base = make_family("bert", tmp_path / "base")
    found = []
    for dtype in (None, torch.bfloat16):
        adaptation, held = make_run(base, tmp_path / "room")
        weights = adaptation.weights = Sharded(adaptation.weights.model, dtype)
        before = loss_of(adaptation, held)
        freeze(weights.model, False)  # the first step must not settle how later ones add up
        batches = adaptation._batches(0)
        adaptation._step(Stepper(weights, 5e-3), next(batches), 0, 5e-3)
        freeze(weights.model, True)
        stepper = Stepper(weights, 5e-3)
        row = adaptation._step(stepper, next(batches), 1, 5e-3)
        found.append([before, row["loss"], loss_of(adaptation, held)])
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)  # measured in full precision
    assert found[0][1] != found[1][1]
    assert found[0] == pytest.approx(found[1], abs=0.02)
    state = adaptation._state(2, stepper)
    kept = [*state["model"].values(), *state["optimiser"]["state"][0].values()]
    assert {part.dtype for part in kept if part.is_floating_point()} == {torch.float32}
    assert not any(isinstance(part, DTensor) for part in kept)
