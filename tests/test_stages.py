import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import stages
from steps.core.entry import StepError


def bring_up_to_date() -> dict[str, str]:
    return {stage.name: stages.run(stage.name) for stage in stages.read().affected()}


def test_the_graph_is_read_in_dependency_order(toy: Path) -> None:
    graph = stages.read()
    names = [stage.name for stage in graph.stages]
    assert names == ["water", "soil", "plant@rose", "plant@leek", "sell"]
    by_name = {stage.name: stage for stage in graph.stages}
    assert by_name["plant@leek"].after == ("soil", "water")
    assert by_name["soil"].pool == "gpu"
    assert by_name["sell"].always
    assert "rain.txt" in graph.stale["water"]


def test_a_stage_given_before_its_upstream_is_put_after_it() -> None:
    late = stages.Stage("late", ("early",), "cpu", False)
    early = stages.Stage("early", (), "cpu", False)
    assert stages.in_order([late, early]) == [early, late]


def test_only_what_comes_after_a_change_is_affected(toy: Path) -> None:
    assert set(bring_up_to_date().values()) == {"ran"}
    assert stages.read().unchanged()
    assert [stage.name for stage in stages.read().affected()] == ["sell"]
    (toy / "rose.txt").unlink()
    assert [stage.name for stage in stages.read().affected()] == ["plant@rose", "sell"]
    assert not stages.read().unchanged()
    assert bring_up_to_date() == {"plant@rose": "restored", "sell": "ran"}


def test_a_stage_whose_inputs_came_out_the_same_is_left_alone(toy: Path) -> None:
    bring_up_to_date()
    (toy / "rain.txt").write_text("Rain")  # in capitals it is the same
    became = bring_up_to_date()
    assert became == {
        "water": "ran",
        "plant@rose": "unchanged",
        "plant@leek": "unchanged",
        "sell": "ran",
    }


def test_a_stage_runs_with_the_python_that_runs_us() -> None:
    first = stages.environment()["PATH"].split(os.pathsep)[0]
    assert Path(first) == Path(sys.executable).parent


def test_a_failure_is_told_by_the_stages_own_line(toy: Path) -> None:
    (toy / "rain.txt").write_text("weeds")
    lines: list[str] = []
    with pytest.raises(StepError, match=r"^stage water failed: there are weeds in rain.txt; pull"):
        stages.run("water", lines.append)
    assert any("> python step.py" in line for line in lines)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["> cmd", "Traceback", "KeyError: 'a'", "ERROR: failed to reproduce"], "KeyError: 'a'"),
        (["ERROR: missing data 'source': in.txt"], "missing data 'source': in.txt"),
        ([], "it said nothing"),
    ],
)
def test_a_failure_is_told_by_the_line_that_says_most(lines: list[str], told: str) -> None:
    assert stages.failure(lines) == told


def test_what_is_no_project_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepError, match="DVC can't read this project"):
        stages.read()


def test_stopping_ends_the_stage_with_all_that_it_started(toy: Path) -> None:
    sleeper = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    (toy / "step.py").write_text(sleeper)
    script = (
        "from pipelines import stages; stages.run('water', lambda line: print(line, flush=True))"
    )
    runner = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    with runner:
        assert runner.stdout
        child = next(int(line) for line in runner.stdout if line.strip().isdigit())
        runner.send_signal(signal.SIGINT)
        runner.wait(20)
    assert gone(child)


def gone(process: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
    return False
