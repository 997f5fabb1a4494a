"""A disk that is full, a store that takes nothing: the next run goes on where it was."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import stages, status
from steps.core.entry import StepError
from tests import projects

WIDE = """
import sys
out, *sources = sys.argv[1:]
with open("ran.txt", "a") as log:
    log.write(out + "\\n")
open(out, "wb").write(out.encode() * 200_000)  # a megabyte and more
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def train(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    from pipelines import training

    monkeypatch.setattr(status, "read", list)
    return training.train


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    disk: Path, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = projects.toy(disk / "toy")
    monkeypatch.chdir(toy)
    graph = yaml.safe_load((toy / "dvc.yaml").read_text())
    del graph["stages"]["water"], graph["stages"]["plant"], graph["stages"]["sell"]
    graph["stages"]["pot"] = {
        "cmd": "python wide.py pot.txt soil.txt",
        "deps": ["wide.py", "soil.txt"],
        "outs": ["pot.txt"],
    }
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph))
    (toy / "wide.py").write_text(WIDE)
    with pytest.raises(StepError, match=r"stage pot failed: .*No space left on device"):
        train()
    assert (toy / "ran.txt").read_text().split() == ["soil.txt", "pot.txt"]
    subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
    assert {ran.stage: ran.became for ran in train()} == {"pot": "ran"}
    assert stages.read().unchanged()


def test_what_the_store_does_not_take_is_pushed_later_and_not_computed_again(
    toy: Path, tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import fleet

    store = tmp_path / "store"
    store.write_text("a file, where a folder should be")
    stages.call(["remote", "add", "--default", "store", str(store)], print)
    projects.commit(toy)
    worker = tmp_path / "worker"
    subprocess.run(["git", "clone", "-q", str(toy), str(worker)], check=True)
    for name in ("rain.txt", "earth.txt"):
        (worker / name).write_text(name)
    monkeypatch.setenv("OUTPLANT_HOME", str(worker))
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    asked = {
        "name": "water",
        "pool": "cpu",
        "commit": head.stdout.strip(),
        "lock": '{"schema": "2.0"}',
    }
    state = fleet.stage(**asked, return_state=True)
    assert (state.type.value, state.name) == ("FAILED", fleet.AGAIN)
    assert state.message.startswith("dvc push --run-cache water: ")
    store.unlink()
    state = fleet.stage(**asked, return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "Restored")
    assert (worker / "ran.txt").read_text().split() == ["water.txt"]
    assert [path for path in store.rglob("*") if path.is_file()]
