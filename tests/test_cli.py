import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import prediction
from pipelines.cli import EXITS, app
from steps.core.entry import StepError
from steps.core.params import load

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    load.cache_clear()
    return tmp_path


@pytest.fixture
def current(toy: Path) -> Path:
    """The toy project with nothing stale, beside params that `outplant train` finds right."""
    (toy / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    shutil.copytree(ROOT / "infra" / "demo", toy / "infra" / "demo")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)
    return toy


def outplant(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from pipelines.cli import app; app()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_help_comes_at_once_and_names_every_command() -> None:
    started = time.process_time(), os.times().children_user
    done = outplant("--help")
    assert os.times().children_user - started[1] < 1.5
    for command in ("status", "train", "promote", "rollback", "history", "predict"):
        assert f" {command} " in done.stdout


def test_a_mistake_of_the_users_is_one_line_and_exit_status_1(folder: Path) -> None:
    done = CliRunner().invoke(app, ["history", "entitles"])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: no task 'entitles' (did you mean 'entities'?)")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_status_comes_as_json(folder: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--json"])
    assert done.exit_code == 0
    assert {row["task"] for row in json.loads(done.stdout)} == {"entities", "changes"}


def test_an_empty_history_is_said_and_is_an_empty_list_as_json(folder: Path) -> None:
    assert "no champion of entities yet" in CliRunner().invoke(app, ["history", "entities"]).stderr
    assert json.loads(CliRunner().invoke(app, ["history", "entities", "--json"]).stdout) == []


def test_train_says_that_nothing_is_stale_and_starts_no_prefect(current: Path) -> None:
    done = outplant("train")
    assert done.returncode == 0
    assert "nothing is stale in 5 stages" in done.stdout
    assert "starting Prefect" not in done.stderr
    assert (current / "ran.txt").read_text().split().count("sold") == 2  # what always runs, did


def test_train_fails_in_one_line_where_a_stage_that_always_runs_fails(current: Path) -> None:
    graph = current / "dvc.yaml"
    graph.write_text(graph.read_text().replace("step.py sold", "none.py"))
    done = outplant("train")
    assert done.returncode == 1
    assert "error: stage sell failed: " in done.stderr


def test_train_names_the_queues_before_anything_runs(current: Path) -> None:
    done = outplant("train", "--fleet", "--queue", "nonsense")
    assert done.returncode == 1
    assert done.stderr == "error: no queue 'nonsense'; there is: default, nightly, urgent\n"
    assert done.stdout == ""


def test_a_verdict_has_its_exit_status() -> None:
    assert EXITS == {"refuse": 3, "inconclusive": 4}


def test_predict_needs_a_champion(folder: Path) -> None:
    done = CliRunner().invoke(app, ["predict", "entities"], input='{"text": "a"}\n')
    assert done.exit_code == 1
    assert done.stderr == "error: entities has no champion; run `outplant promote entities`\n"


def test_lines_come_in_batches_and_keep_their_numbers() -> None:
    lines = [json.dumps({"text": str(n)}) for n in range(70)]
    assert [len(batch) for batch in prediction.batches(lines)] == [32, 32, 6]
    assert [number for batch in prediction.batches(lines) for number, _ in batch] == [*range(1, 71)]


def test_what_has_come_is_answered_before_the_input_ends() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream:
        os.write(writing, b'{"text": "a"}\n{"text": "b"}\n{"te')
        batches = prediction.batches(prediction.arriving(stream))
        assert [item["text"] for _, item in next(batches)] == ["a", "b"]
        os.write(writing, b'xt": "c"}')
        os.close(writing)
        assert list(batches) == [[(3, {"text": "c"})]]


def test_bytes_that_are_no_text_are_a_line_that_is_named() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream:
        os.write(writing, b'{"text": "\xff"}\n')
        os.close(writing)
        with pytest.raises(StepError, match="line 1 is"):
            next(batch for batch in prediction.batches(prediction.arriving(stream)) if batch)


def test_lines_are_read_no_further_than_a_batch_ahead() -> None:
    read: list[int] = []

    def endless() -> Iterator[str]:
        while True:
            read.append(1)
            yield '{"text": "a"}'

    batches = prediction.batches(endless())
    for number in (1, 2, 3):
        next(batches)
        assert len(read) == number * prediction.BATCH


@pytest.mark.parametrize("bad", ["plain", "[1]", '{"txt": "a"}', '{"text": 3}', ""])
def test_a_bad_line_is_named_after_those_before_it(bad: str) -> None:
    batches = prediction.batches(['{"text": "good"}', bad])
    assert next(batches) == [(1, {"text": "good"})]
    with pytest.raises(StepError, match="line 2 is"):
        next(batches)


def test_a_prediction_keeps_the_lines_own_fields_and_overwrites_none() -> None:
    said = {"label": "fix", "confidence": 0.9}
    assert prediction.merge(1, {"text": "a", "id": 7}, said) == {"text": "a", "id": 7} | said
    with pytest.raises(StepError, match="line 1 has a field 'label'"):
        prediction.merge(1, {"text": "a", "label": "doc"}, said)
