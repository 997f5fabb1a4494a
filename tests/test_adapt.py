"""The stages `pack` and `adapt` as a user runs them: processes of their own, that may be killed."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import yaml

from steps.core.files import digest, read_json, write_json, write_rows
from steps.transfer.loop import half
from tests.forked import Stage, run
from tests.tiny import WORDS, make_base

ROOT = Path(__file__).parent.parent
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "source", "group", "text")])
ADAPT = ("adapt", "dapt", "base", "blocks", "models/dapt", "metrics.json", "plot.json")
KILLS = 10
# One thread a rank; and no device, of which there may be fewer than ranks
TWO_CPUS = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
LIMIT = 300_000  # bytes of a file
# As a sitecustomize.py: the rank that writes is behind the one that does not
SLOW_DISK = (
    "import os, time\nfsync = os.fsync\nos.fsync = lambda file: (time.sleep(0.2), fsync(file))"
)


def project(folder: Path, changed: dict[str, object] | None = None) -> Path:
    """A folder with params, a tiny base without a head, and packed blocks of two corpora."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["pack"] |= {"block_tokens": 32, "held_out_tokens": 300}
    params["adaptations"]["dapt"] |= {
        "tokens": 6400,
        "warmup_tokens": 640,
        "batch_tokens": 128,
        "checkpoint_steps": 2,
        "dropout": 0.1,
    }
    params["adaptations"]["dapt"] |= changed or {}
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    make_base(folder / "base")
    parts = []
    for part, share, count in (("corpora/pydocs", 1.0, 200), ("replay/general", 0.0, 40)):
        text(folder / "texts" / part, count)
        parts.append({"part": part, "share": share, "documents": count, "words": 0})
    write_json(folder / "texts/text.json", {"adaptation": "dapt", "parts": parts})
    run(folder, "pack", "dapt", "texts", "base", "blocks")
    return folder


def text(folder: Path, count: int) -> None:
    """Documents whose words follow one another in an order that can be learnt."""
    texts = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 20)) for i in range(count)]
    rows = [{"id": f"{i:04}", "source": "s", "group": "g", "text": t} for i, t in enumerate(texts)]
    write_rows(folder / "part-00000.parquet", rows, SCHEMA)


def history(folder: Path) -> list[dict[str, float]]:
    file = next(iter((folder / ".outplant/checkpoints").glob("*/history.jsonl")), None)
    lines = file.read_text().splitlines() if file else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def reached(folder: Path, steps: int) -> Callable[[], bool]:
    return lambda: len(history(folder)) >= steps


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    folder = project(tmp_path_factory.mktemp("whole") / "project")
    run(folder, *ADAPT)
    return folder


def test_adaptation_lowers_the_held_out_loss_and_says_what_it_did(whole_run):
    said = read_json(whole_run / "metrics.json")
    assert said["held_out_loss_after"] < said["held_out_loss_warm"] < said["held_out_loss_before"]
    rows = (whole_run / "models/dapt/history.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in rows]
    assert said["tokens"] == steps[-1]["tokens"] == pytest.approx(7040, rel=0.05)
    assert [row["step"] for row in steps] == list(range(1, len(steps) + 1))
    assert said["objective"] == "mlm"
    assert said["seconds"] == said["device_seconds"] > 0
    assert not list((whole_run / ".outplant/checkpoints").iterdir())
    assert (whole_run / "models/dapt/tokenizer.json").exists()


def test_forgetting_is_measured_on_text_that_is_not_trained_on(whole_run):
    said = read_json(whole_run / "metrics.json")
    general = said["held_out"]["replay/general"]
    assert said["forgetting"] == {
        "replay/general": pytest.approx(general["after"] - general["warm"], abs=1e-4)
    }
    ledger = read_json(whole_run / "blocks/ledger.json")["parts"]["replay/general"]
    assert ledger["train"]["blocks"] == 0 < ledger["held_out"]["blocks"]


def test_training_killed_ten_times_at_random_moments_ends_in_the_same_bytes(whole_run, tmp_path):
    folder, chance = project(tmp_path / "project"), random.Random(7)
    for _ in range(KILLS):
        more = chance.randrange(6)  # none: while it loads or measures
        stage = Stage(folder, *ADAPT)
        after = len(history(folder)) + more
        assert stage.hit(signal.SIGKILL, reached(folder, after)), "it had come to its end"
        assert stage.end()[0] == -signal.SIGKILL
        assert not (folder / "models/dapt").exists()
    assert "resumed after step" in run(folder, *ADAPT)
    assert digest(folder / "models/dapt") == digest(whole_run / "models/dapt")
    assert read_json(folder / "plot.json") == read_json(whole_run / "plot.json")
    said, whole = (read_json(at / "metrics.json")["held_out"] for at in (folder, whole_run))
    assert said == whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_saves_what_was_done_and_the_next_run_goes_on(whole_run, tmp_path, number):
    folder = project(tmp_path / "project", {"checkpoint_steps": 1000})
    stage = Stage(folder, *ADAPT)
    assert stage.hit(number, reached(folder, 9))
    status, said = stage.end()
    assert status == 128 + number
    assert "stopped after step" in said
    assert "Traceback" not in said
    done = int(said.split("stopped after step ")[1].split()[0])
    assert f"resumed after step {done} " in run(folder, *ADAPT)
    weights = [p / "models/dapt/model.safetensors" for p in (folder, whole_run)]
    assert digest(weights[0]) == digest(weights[1])


def small_files(limit: int = LIMIT) -> None:
    """A model of this size is saved; its checkpoint, with the optimiser's part, is not."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def smaller_files() -> None:
    small_files(LIMIT // 10)


def test_a_disk_that_takes_no_checkpoint_does_not_end_training(tmp_path):
    folder = project(tmp_path / "project", {"tokens": 1280, "warmup_tokens": 128})
    status, said = Stage(folder, *ADAPT, before=small_files).end()
    assert status == 0, said
    assert said.count("warning: no checkpoint is written; training goes on") == 1
    assert (folder / "models/dapt/model.safetensors").stat().st_size < LIMIT


def test_a_disk_that_takes_no_model_is_one_line(tmp_path):
    folder = project(tmp_path / "project", {"tokens": 1280, "warmup_tokens": 128})
    status, said = Stage(folder, *ADAPT, before=smaller_files).end()
    assert status == 1
    assert "Traceback" not in said
    assert "error: dapt is trained, but cannot be written to models/dapt: " in said
    assert not (folder / "models/dapt").exists()


def test_a_loss_that_runs_away_is_one_line_and_leaves_the_last_good_model(tmp_path):
    folder = project(tmp_path / "project", {"learning_rate": 1e37, "schedule": "constant"})
    status, said = Stage(folder, *ADAPT).end()
    assert status == 1
    assert "Traceback" not in said
    line = said.strip().splitlines()[-1]
    assert line.startswith("error: dapt, step ")
    assert "lower its learning_rate" in line
    good = folder / line.split("; ")[1].split(" is the model")[0]
    assert (good / "model.safetensors").exists()
    assert not (folder / "models/dapt").exists()


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one(whole_run, tmp_path):
    """The same batches and masks; dropout, whose chance is a rank's own, is off."""
    folder = project(tmp_path / "project", {"dropout": 0.0})
    launch = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2"
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK)
    run(folder, *ADAPT)
    curves = [[row["loss"] for row in read_json(folder / "plot.json")]]
    settings = {"OUTPLANT_LAUNCH": launch, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-m", "steps.adapt", *ADAPT[1:]],
        cwd=folder,
        env=os.environ | settings | TWO_CPUS,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    curves.append([row["loss"] for row in read_json(folder / "plot.json")])
    bound = 1e-4 if half(torch.device("cpu")) is None else 5e-3  # halves have three digits
    assert curves[0] == pytest.approx(curves[1], abs=bound)
    said = read_json(folder / "metrics.json")
    assert said["device_seconds"] == pytest.approx(2 * said["seconds"], abs=0.11)


def test_a_corpus_of_one_sentence_trains(tmp_path):
    folder = project(tmp_path / "project", {"tokens": 400, "warmup_tokens": 100})
    text(folder / "texts/corpora/pydocs", 1)
    run(folder, "pack", "dapt", "texts", "base", "blocks")
    run(folder, *ADAPT)
    said = read_json(folder / "metrics.json")
    assert said["held_out_loss_after"] < said["held_out_loss_before"]


def test_a_start_without_a_model_is_one_line(whole_run):
    (whole_run / "empty").mkdir(exist_ok=True)
    status, said = Stage(whole_run, "adapt", "dapt", "empty", *ADAPT[3:]).end()
    assert status == 1
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("error: empty has no model.safetensors")
