import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from steps.core.files import read_json, write_rows
from tests.tiny import WORDS, make_base

ROOT = Path(__file__).parent.parent


def project(folder: Path) -> Path:
    """A folder with params, a tiny base and packed blocks."""
    import pyarrow as pa

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["pack"] |= {"block_tokens": 32, "held_out_tokens": 300}
    params["adaptations"]["dapt"] |= {
        "tokens": 6400,
        "warmup_tokens": 640,
        "batch_tokens": 128,
        "checkpoint_steps": 2,
        "dropout": 0.1,
    }
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    make_base(folder / "base")
    texts = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 20)) for i in range(200)]
    rows = [
        {"id": f"{i:04}", "source": "s", "group": "g", "text": text} for i, text in enumerate(texts)
    ]
    schema = pa.schema([(name, pa.string()) for name in ("id", "source", "group", "text")])
    write_rows(folder / "clean" / "documents" / "part-00000.parquet", rows, schema)
    step(folder, "pack", "dapt", "clean", "base", "blocks").communicate(timeout=60)
    return folder


def step(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", f"steps.{arguments[0]}", *arguments[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


ADAPT = ("adapt", "dapt", "base", "blocks", "models/dapt", "metrics.json", "plot.json")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "models/dapt").iterdir())}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    folder = project(tmp_path_factory.mktemp("whole") / "project")
    run = step(folder, *ADAPT)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    return folder


def test_adaptation_lowers_the_held_out_loss_and_says_what_it_did(whole_run):
    said = read_json(whole_run / "metrics.json")
    assert said["held_out_loss_after"] < said["held_out_loss_warm"] < said["held_out_loss_before"]
    history = [
        json.loads(line)
        for line in (whole_run / "models/dapt/history.jsonl").read_text().splitlines()
    ]
    assert said["tokens"] == history[-1]["tokens"] == pytest.approx(7040, rel=0.05)
    assert [row["step"] for row in history] == list(range(1, len(history) + 1))
    assert not (whole_run / ".outplant/checkpoints").exists() or not list(
        (whole_run / ".outplant/checkpoints").iterdir()
    )


def test_a_killed_adaptation_resumes_and_ends_in_the_same_bytes(whole_run, tmp_path):
    folder = project(tmp_path / "project")
    run = step(folder, *ADAPT)
    rooms = folder / ".outplant/checkpoints"
    while run.poll() is None:
        history = next(iter(rooms.glob("*/history.jsonl")), None)
        if history and history.read_text().count("\n") >= 20:
            os.kill(run.pid, signal.SIGKILL)
            break
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert not (folder / "models/dapt").exists()
    again = step(folder, *ADAPT)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "resumed after step" in said
    assert bytes_of(folder) == bytes_of(whole_run)


def test_a_start_without_a_mask_token_or_a_model_is_one_line(tmp_path, whole_run):
    (whole_run / "empty").mkdir(exist_ok=True)
    run = step(whole_run, "adapt", "dapt", "empty", *ADAPT[3:])
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("error: empty is no masked language model")
