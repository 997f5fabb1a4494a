import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from pipelines import stages
from steps.core.entry import StepError, TryAgain


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
        (["> cmd", "Traceback", "KeyError: 'a'", "ERROR: cmd, exited with 1"], "KeyError: 'a'"),
        (
            ["> cmd", "step 9", "ERROR: unexpected error - disk full"],
            "unexpected error - disk full",
        ),
        (["ERROR: no s3", "ERROR: failed to pull", "<https://error.dvc.org/missing>"], "no s3"),
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
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # if in a `&`
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


STEP_THAT_ENDS = """
import os, signal, sys
print("on my way")
if sys.argv[2] == "status":
    sys.exit(int(sys.argv[3]))
os.kill(os.getpid() if sys.argv[2] == "self" else os.getppid(), int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("how", "kind", "told", "shell"),
    [
        ("status 75", TryAgain, "on my way", "/bin/sh"),
        ("status 1", StepError, "on my way", "/bin/sh"),
        ("status 143", TryAgain, "it was killed (signal 15); last it said: on my", "/bin/sh"),
        ("self 9", TryAgain, "it was killed (signal 9); last it said: on my way", "/bin/sh"),
        ("self 9", TryAgain, "it was killed (signal 9); last it said: on my way", "/bin/bash"),
        ("self 15", TryAgain, "it was killed (signal 15); last it said: on my way", "/bin/sh"),
    ],
)
def test_what_may_pass_is_told_from_what_is_to_be_mended(
    toy: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: type, told: str, shell: str
) -> None:
    monkeypatch.setenv("SHELL", shell)  # DVC's choice; one becomes the step, one waits for it
    end_with(toy, how)
    with pytest.raises(StepError) as found:
        stages.run("water", print)
    assert type(found.value) is kind
    assert str(found.value).startswith(f"stage water failed: {told}")


def end_with(toy: Path, how: str) -> None:
    (toy / "step.py").write_text(STEP_THAT_ENDS)
    graph = (toy / "dvc.yaml").read_text()
    (toy / "dvc.yaml").write_text(graph.replace("water.txt rain.txt", f"water.txt {how}"))


def test_a_dvc_that_is_killed_may_be_tried_again(toy: Path) -> None:
    end_with(toy, "parent 9")
    (toy / "dvc.yaml").write_text((toy / "dvc.yaml").read_text().replace("cmd: py", "cmd: exec py"))
    with pytest.raises(TryAgain, match=r"dvc was killed \(signal 9\)"):
        stages.run("water", print)


def test_a_remote_that_is_away_may_be_tried_again(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    for name in keys:
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    remote = "['remote \"far\"']\n    url = s3://bucket/x\n    endpointurl = http://127.0.0.1:9\n"
    (toy / ".dvc/config").write_text(f"[core]\n    remote = far\n{remote}")
    stages.run("water")
    for arguments in (["pull", "water"], ["repro", "--single-item", "--pull", "soil"]):
        (toy / "water.txt").unlink(missing_ok=True)
        shutil.rmtree(toy / ".dvc/cache", ignore_errors=True)
        with pytest.raises(TryAgain, match=r'ould not connect to the endpoint URL: "http://127'):
            stages.call(arguments, print)


def test_a_stage_that_talks_of_exit_statuses_is_not_taken_for_killed(toy: Path) -> None:
    (toy / "step.py").write_text("import sys; print('worker exited with -9'); sys.exit(1)")
    with pytest.raises(StepError) as found:
        stages.run("water", print)
    assert type(found.value) is StepError


def test_two_stages_run_side_by_side_in_one_folder(toy: Path) -> None:
    meet(toy)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(stages.run, ["water", "soil"])) == ["ran", "ran"]
    assert set(stages.entries(["water", "soil", "sell"])) == {"water", "soil"}
    assert set(stages.read().stale) == {"plant@rose", "plant@leek", "sell"}


def meet(toy: Path) -> None:
    """Let water and soil wait for each other."""
    waits = """
import sys, time
from pathlib import Path

out, *sources = sys.argv[1:]
other = {"water.txt": "soil.txt", "soil.txt": "water.txt"}.get(out)
deadline = time.monotonic() + 30
Path(out + ".here").touch()
while other and not Path(other + ".here").exists():
    if time.monotonic() > deadline:
        sys.exit("error: " + out + " waits for " + other + " in vain")
    time.sleep(0.02)
Path(out).write_text(out)
"""
    (toy / "step.py").write_text(waits)


def test_the_entries_of_the_lock_are_those_of_the_stages_that_are_asked_for(toy: Path) -> None:
    assert stages.entries(["water"]) == {}
    stages.run("water")
    found = stages.entries(["water", "soil", "nothing"])
    assert list(found) == ["water"]
    assert {dep["path"] for dep in found["water"]["deps"]} == {"rain.txt", "step.py"}


def test_a_stage_that_reads_what_neither_git_nor_a_stage_has_is_found(toy: Path) -> None:
    """rain.txt and earth.txt are not in git; DVC makes the others, and knows step.py by git."""
    assert stages.outside() == {"water", "soil"}
    add(toy, "rain.txt", "earth.txt")
    assert stages.outside() == set()


def test_what_is_in_a_folder_counts_whoever_made_the_folder(toy: Path) -> None:
    """A part of an out, a folder with outs in it, and a folder with a tracked file."""
    for name in ("own/ümlaut.txt", "runs/notes.txt"):
        (toy / name).parent.mkdir()
        (toy / name).write_text("text")
    graph = {
        "whole": {"cmd": "true", "deps": ["step.py"], "outs": ["runs/a"]},
        "part": {"cmd": "true", "deps": ["runs/a/one.txt"]},
        "above": {"cmd": "true", "deps": ["runs"]},
        "tracked": {"cmd": "true", "deps": ["own", "own/ümlaut.txt"]},
        "beside": {"cmd": "true", "deps": ["runs/ab"]},
        "remote": {"cmd": "true", "deps": ["s3://bucket/key"]},
    }
    (toy / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}))
    add(toy, "dvc.yaml", "own")
    assert stages.outside() == {"beside"}


def add(toy: Path, *names: str) -> None:
    subprocess.run(["git", "add", "--force", *names], cwd=toy, check=True)


def test_the_remote_is_named_or_its_lack_is_one_line(toy: Path) -> None:
    with pytest.raises(StepError, match=r"toy has no default DVC remote, .*`dvc remote add"):
        stages.remote()
    add_remote = ["remote", "add", "--default", "store", "s3://bucket/prefix"]
    stages.call(add_remote, print)
    assert stages.remote() == ("store", "s3://bucket/prefix")
    assert stages.remote(toy) == ("store", "s3://bucket/prefix")
