"""What an adaptation writes while it runs is in MLflow once, and MLflow never holds it up."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines import connection, history, registry
from pipelines.history import MODELS, ROOM, tailed
from steps.core.entry import StepError
from steps.transfer import resume
from tests import tiny_project

FILE = ROOM / "adapt-dapt-0123456789abcdef" / "history.jsonl"
MADE = MODELS / "dapt" / "history.jsonl"


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_project.blank_registry(tmp_path_factory.mktemp("blank"))


@pytest.fixture(autouse=True)
def project(blank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a registry of its own, looked at often."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(history, "EVERY_SECONDS", 0.02)
    monkeypatch.setattr(history, "AGAIN_SECONDS", 0.02)
    shutil.copy(blank, "mlflow.db")
    return tmp_path


def ignore(row: history.Row) -> None:
    """Nobody looks on."""


def line(step: int, seconds: float | None = None) -> str:
    row = {"step": step, "tokens": 100 * step, "loss": 8 / step, "learning_rate": 0.1 / step}
    row |= {"phase": "adapting", "seconds": seconds or 0.5 * step}
    return json.dumps(row, sort_keys=True) + "\n"


def write(file: Path, *steps: int, half: str = "") -> None:
    """Add lines to a history, and half of one more."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        stream.write("".join(line(step) for step in steps) + half)


def runs() -> list[Any]:
    """The runs there are, looked up as a person would."""
    import mlflow

    client = mlflow.MlflowClient(connection.address())
    found = client.get_experiment_by_name("adaptations")
    return list(client.search_runs([found.experiment_id])) if found else []


def logged(metric: str, run: int = 0) -> list[tuple[int, float]]:
    """Step and value of all that was logged of a metric; what is logged twice is here twice."""
    import mlflow

    if len(runs()) <= run:
        return []
    client = mlflow.MlflowClient(connection.address())
    found = client.get_metric_history(runs()[run].info.run_id, metric)
    return sorted((item.step, item.value) for item in found)


def until(done: Callable[[], bool]) -> None:
    """Look again and again, for the thread works in its own time."""
    pause, deadline = threading.Event(), time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def fail(said: str) -> None:
    pytest.fail(f"a warning: {said}")


def test_checkpoints_lie_where_training_puts_them() -> None:
    assert ROOM == resume.ROOM


def test_losses_are_in_mlflow_while_training_goes_on_and_the_rest_when_it_is_done() -> None:
    def work() -> str:
        write(FILE, 1, 2, 3, half=line(4)[:20])
        until(lambda: len(logged("loss")) == 3)
        write(FILE, half=line(4)[20:])
        until(lambda: len(logged("loss")) == 4)
        assert runs()[0].info.status == "RUNNING"
        shutil.rmtree(FILE.parent)
        write(MADE, *range(1, 8))
        return "ran"

    assert tailed("adapt@dapt", work, fail, ignore) == "ran"
    assert logged("loss") == [(step, 8 / step) for step in range(1, 8)]
    assert logged("learning_rate") == [(step, 0.1 / step) for step in range(1, 8)]
    assert logged("tokens_per_second") == [(step, 200.0) for step in range(1, 8)]
    (run,) = runs()
    assert (run.info.run_name, run.info.status) == ("adapt-dapt", "FINISHED")
    assert run.data.tags["outplant.history"] == FILE.parent.name


def test_a_killed_run_that_goes_on_is_one_run_without_a_step_twice() -> None:
    def killed() -> str:
        write(FILE, *range(1, 7))
        until(lambda: len(logged("loss")) == 6)
        raise KeyboardInterrupt

    def resumed() -> str:
        write(FILE, 5)  # what was left of it, before the checkpoint is read
        FILE.write_text("".join(line(step, seconds=step) for step in range(1, 4)))
        until(lambda: runs()[0].info.status == "RUNNING")
        write(FILE, *range(4, 9))
        until(lambda: len(logged("loss")) == 8)
        write(MADE, *range(1, 10))
        shutil.rmtree(FILE.parent)
        return "ran"

    with pytest.raises(KeyboardInterrupt):
        tailed("adapt@dapt", killed, fail, ignore)
    assert runs()[0].info.status == "KILLED"
    assert tailed("adapt@dapt", resumed, fail, ignore) == "ran"
    assert [step for step, _ in logged("loss")] == list(range(1, 10))
    (run,) = runs()
    assert run.info.status == "FINISHED"


def test_a_file_that_is_written_anew_is_read_from_its_beginning() -> None:
    write(FILE, *range(1, 6))
    file = history.Growing(FILE)
    assert [row["step"] for row in file.rows()] == [1, 2, 3, 4, 5]
    FILE.write_text(
        "".join(line(step, seconds=7) for step in range(1, 9))
    )  # and longer than it was
    assert [row["step"] for row in file.rows()] == list(range(1, 9))
    assert file.rows() == []
    write(FILE, half="no JSON\n" + line(10))
    assert file.rows() == []  # what stands behind a damaged line is read from the stage's own out
    FILE.unlink()
    assert file.rows() == []


def test_what_other_runs_left_is_not_taken_for_this_one() -> None:
    write(ROOM / "adapt-dapt-ffffffffffffffff" / "history.jsonl", 1, 2)
    write(ROOM / "adapt-dapt-more-0123456789abcdef" / "history.jsonl", 1)

    def work() -> str:
        write(ROOM / "adapt-dapt-more-0123456789abcdef" / "history.jsonl", 2)
        write(FILE, 1)
        until(lambda: len(logged("loss")) == 1)
        raise StepError("the loss is NaN")

    with pytest.raises(StepError, match="NaN"):
        tailed("adapt@dapt", work, fail, ignore)
    (run,) = runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["outplant.history"] == FILE.parent.name


def test_a_run_too_quick_to_be_seen_is_logged_when_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "EVERY_SECONDS", 60.0)

    def work() -> str:
        MADE.unlink(missing_ok=True)
        write(MADE, *range(1, 500))  # more than one batch
        return "ran"

    for _ in range(2):  # the same bytes are the same run
        tailed("adapt@dapt", work, fail, ignore)
    assert [step for step, _ in logged("loss")] == list(range(1, 500))
    assert len(runs()) == 1


@pytest.mark.parametrize("became", ["restored", "unchanged"])
def test_what_did_not_run_is_not_logged(became: str) -> None:
    write(MADE, 1, 2)
    assert tailed("adapt@dapt", lambda: became, fail, ignore) == became
    assert runs() == []


def test_a_stage_that_is_no_adaptation_has_no_history() -> None:
    assert tailed("adaptable@dapt", lambda: "ran", fail, ignore) == "ran"
    assert tailed("register", lambda: "ran", fail, ignore) == "ran"
    assert runs() == []


def test_a_tracker_that_is_not_there_costs_one_warning_and_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    said: list[str] = []

    def work() -> str:
        write(FILE, 1)
        until(lambda: bool(said))
        write(FILE, 2, 3)
        write(MADE, 1, 2, 3)
        return "ran"

    began = time.monotonic()
    assert tailed("adapt@dapt", work, said.append, ignore) == "ran"
    assert time.monotonic() - began < 5
    assert len(said) == 1
    assert said[0].startswith("MLflow at http://127.0.0.1 does not answer (")
    assert said[0].endswith(
        "; training goes on, and models/dapt/history.jsonl will have its losses"
    )
    assert "secret" not in said[0]


def test_a_tracker_that_comes_back_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said: list[str] = []

    def work() -> str:
        write(FILE, 1, 2)
        until(lambda: bool(said))
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        until(lambda: len(logged("loss")) == 2)
        write(FILE, 3)
        return "ran"

    assert tailed("adapt@dapt", work, said.append, ignore) == "ran"
    assert [step for step, _ in logged("loss")] == [1, 2, 3]
    assert len(said) == 1


def test_a_registry_that_is_damaged_costs_a_warning() -> None:
    Path("mlflow.db").write_bytes(b"no database" * 1000)
    said: list[str] = []

    def work() -> str:
        write(FILE, 1)
        until(lambda: bool(said))
        return "ran"

    assert tailed("adapt@dapt", work, said.append, ignore) == "ran"
    assert len(said) == 1
    assert "\n" not in said[0]


class Deaf(BaseHTTPRequestHandler):
    """Says that it is well, and then nothing."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send_response(200)
            self.end_headers()
        else:
            RELEASED.wait(60)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


RELEASED = threading.Event()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Deaf) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield
        RELEASED.set()
        server.shutdown()


@pytest.mark.usefixtures("deaf")
def test_a_tracker_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LAST_SECONDS", 0.2)
    said: list[str] = []
    tail = history.Tail("dapt", said.append, ignore)
    write(FILE, 1)
    tail.start()
    began = time.monotonic()
    tail.stop("FINISHED", ran=False)
    assert time.monotonic() - began < 5
    (line,) = said
    assert line.startswith("MLflow has not taken all of it in 0 s; training goes on")
    RELEASED.set()
    tail.thread.join()


def test_a_disk_that_fails_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def work() -> str:
        FILE.mkdir(parents=True)  # what cannot be read as a file
        until(lambda: bool(said))
        return "ran"

    assert tailed("adapt@dapt", work, said.append, ignore) == "ran"
    assert len(said) == 1
    assert "Is a directory" in said[0]


def test_a_loss_that_is_no_number_is_logged_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"step": 1.0, "tokens": 5.0, "loss": float("nan")}]
    for _ in range(2):
        registry.log_history("key", "dapt", rows, "RUNNING")
    assert len(logged("loss")) == 1
