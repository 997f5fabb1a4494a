"""Champions move under load, clients hang up, servers are told to end: no request is lost."""

import asyncio
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines import answering, promotion, registry, serving_page
from pipelines.answering import Answerer
from pipelines.serving import build
from pipelines.serving_lane import level
from pipelines.serving_process import begin, run, server
from pipelines.serving_schemas import Limits
from pipelines.serving_state import Serving, prove
from pipelines.serving_threads import fastest
from pipelines.serving_watch import Watch
from steps.core.entry import StepError
from steps.core.params import load
from tests.servers import ROOT, free_port
from tests.servers import running as serving_elsewhere
from tests.serving import bundled, running, until
from tests.tiny_project import TASK, WEAK

BODY = {"items": [{"text": "documentation"}]}
QUICK = Limits(poll_seconds=0.05)
Heard = list[tuple[str, int | None, list[dict[str, Any]], list[dict[str, Any]], float]]


class Slow:
    """A predictor that answers once it is let."""

    type = None

    def __init__(self, inner: Any) -> None:
        self.inner, self.type = inner, inner.type
        self.let, self.began = threading.Event(), threading.Event()

    def predict(self, items: list[Any]) -> list[dict[str, Any]]:
        self.began.set()
        assert self.let.wait(60)
        if any(item["text"] == "poison" for item in items):
            raise RuntimeError("a text that breaks the model")
        found: list[dict[str, Any]] = self.inner.predict(items)
        return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tmp_path_factory.mktemp("bundle"), "classification", task=TASK)


@pytest.fixture
def model(bundle: Path) -> Answerer:
    return answering.opened(bundle)


@pytest.fixture
def slow(model: Answerer) -> Answerer:
    return replace(model, predictor=Slow(model.predictor))


def post(url: str, body: Any = BODY) -> httpx.Response:
    return httpx.post(f"{url}/v1/{TASK}/predict", json=body, timeout=60)


def after(call: Any, *given: Any) -> "Future[httpx.Response]":
    """Call in a thread."""
    found: Future[httpx.Response] = Future()
    threading.Thread(target=lambda: found.set_result(call(*given))).start()
    return found


@pytest.fixture
def project(two_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Version 1, the champion, knows no `doc`, version 2 does."""
    shutil.copytree(two_versions, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()
    promotion.promote(TASK, 1, False, "")
    return tmp_path / "copy"


class Load:
    """Clients that ask without a pause until this is left; all they got is kept."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self.url, self.stop = url, threading.Event()
        self.got: list[tuple[int, Any, Any]] = []
        self.pool = ThreadPoolExecutor(clients)
        self.work = [self.pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self.stop.is_set():
                said = client.post(f"{self.url}/v1/{TASK}/predict", json=BODY)
                found = said.json()
                answer = found["answers"][0]["label"] if said.status_code == 200 else found
                self.got.append((said.status_code, found.get("version"), answer))

    def last(self) -> Any:
        return self.got[-1][1] if self.got else None

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.pool.shutdown()
        for work in self.work:
            work.result()


def test_promotion_and_rollback_under_load_fail_no_request(project):
    first = answering.load(TASK)
    old = weakref.ref(first)
    models = [first]
    with running(models, QUICK, [TASK]) as (url, serving):
        del first
        models.clear()
        with Load(url) as load:
            until(lambda: load.last() == 1)
            promotion.promote(TASK, 2, False, "")
            until(lambda: load.last() == 2)
            promotion.rollback(TASK, "as a test", None)
            until(lambda: load.last() == 1)
        assert {status for status, _, _ in load.got} == {200}
        assert {version: label for _, version, label in load.got if version == 2} == {2: "doc"}
        assert {label for _, version, label in load.got if version == 1} <= set(WEAK)
        assert serving[TASK].version == 1
        gc.collect()
        assert old() is None  # it was let go


def test_without_a_name_all_champions_are_served_and_followed(project, bundle, monkeypatch):
    serving, follow = begin([], [], Limits())
    assert (follow, serving[TASK].version, serving[TASK].recipe) == ([TASK], 1, "baseline")
    serving.close()
    alone, follow = begin([], [bundle], Limits())
    assert (follow, alone[TASK].version) == ([], None)
    alone.close()
    with pytest.raises(StepError, match=f"{TASK} is given twice"):
        begin([TASK], [bundle], Limits())
    with pytest.raises(StepError, match="cooking has no champion; run `outplant promote cooking`"):
        begin(["cooking"], [], Limits())


def test_the_number_of_threads_is_one_that_was_measured(model):
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert fastest([model]) in (1, 2)
    finally:
        torch.set_num_threads(before)


def test_a_version_that_fails_its_self_test_is_refused_and_the_old_one_stays(project, monkeypatch):
    with running([answering.load(TASK)], QUICK, [TASK]) as (url, serving):
        weights = registry.files(registry.version(TASK, 2))[0] / "baseline.json"
        kept = weights.read_bytes()
        try:
            weights.write_text("{}")
            promotion.promote(TASK, 2, False, "")
            until(lambda: any("is refused" in said for said in serving.notes.values()))
            ready = httpx.get(f"{url}/readyz")
            assert (ready.status_code, post(url).json()["version"]) == (200, 1)
            assert f"version 2 of {TASK} is refused" in ready.json()["notes"][0]
            assert "outplant_versions_refused_total" in httpx.get(f"{url}/metrics").text
        finally:
            weights.write_bytes(kept)


def test_a_registry_that_is_down_keeps_the_model_and_is_told(project, monkeypatch):
    model = answering.load(TASK)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with running([model], QUICK, [TASK]) as (url, serving):
        until(lambda: any("does not answer" in said for said in serving.notes.values()))
        assert "does not answer" in httpx.get(f"{url}/readyz").json()["notes"][0]
        assert post(url).json()["version"] == 1
        assert "outplant_registry_up 0.0" in httpx.get(f"{url}/metrics").text


def test_a_challenger_answers_beside_it_for_the_log_alone(project):
    heard: Heard = []

    def log(*what: Any) -> None:
        heard.append(what)

    with running([answering.load(TASK)], QUICK, [TASK], log=log, shadow=True) as (url, serving):
        until(lambda: TASK in serving.shadows)
        assert httpx.get(f"{url}/v1/tasks").json()["tasks"][0]["challenger"] == 2
        said = post(url).json()
        until(lambda: len(heard) == 2)
    (one, other) = sorted(heard, key=lambda what: str(what[1]))
    assert (one[1], one[3], other[1]) == (1, said["answers"], 2)
    assert other[3][0]["label"] == "doc"
    assert one[2] == other[2] == BODY["items"]


def test_a_model_whose_numbers_are_none_fails_its_self_test(model):
    class Lost(Slow):
        def predict(self, items: list[Any]) -> list[dict[str, Any]]:
            return [answer | {"confidence": float("nan")} for answer in self.inner.predict(items)]

    prove(model)
    with pytest.raises(StepError, match="finite number at confidence"):
        prove(replace(model, predictor=Lost(model.predictor)))


def test_a_full_queue_says_when_to_come_again(slow):
    with running([slow], Limits(waiting=4)) as (url, serving):
        first = after(post, url)
        assert slow.predictor.began.wait(60)
        more = after(post, url, {"items": BODY["items"] * 4})
        until(lambda: len(serving.lanes[TASK].waiting) == 4)
        refused = post(url)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "4 texts wait" in refused.json()["error"]
        slow.predictor.let.set()
        assert (first.result().status_code, more.result().status_code) == (200, 200)


def test_the_page_waits_in_the_same_queue_and_is_in_the_same_log(slow):
    heard: Heard = []
    with running([slow], Limits(waiting=4), log=lambda *what: heard.append(what)) as (url, serving):
        asked = serving_page.queued(serving, slow).answer
        first = after(asked, BODY["items"])
        assert slow.predictor.began.wait(60)
        assert not heard
        more = after(post, url, {"items": BODY["items"] * 4})
        until(lambda: len(serving.lanes[TASK].waiting) == 4)
        with pytest.raises(StepError, match="4 texts wait"):
            asked(BODY["items"])
        slow.predictor.let.set()
        (answer,), others = first.result(), more.result().json()["answers"]
        with pytest.raises(StepError, match="Something broke here; the server's log has it"):
            asked([{"text": "poison"}])
        until(lambda: len(heard) == 2)
    assert others == [answer] * 4
    assert [len(what[3]) for what in heard] == [1, 4]


def test_an_answer_that_takes_too_long_is_given_up(slow):
    with running([slow], Limits(seconds=0.2)) as (url, serving):
        said = post(url)
        assert said.status_code == 504
        assert "no answer within 0.2 seconds" in said.json()["error"]
        slow.predictor.let.set()
        assert not serving.lanes[TASK].waiting


def test_a_text_that_breaks_the_model_spoils_no_request_beside_it(slow):
    with running([slow]) as (url, serving):
        first = after(post, url)
        assert slow.predictor.began.wait(60)
        beside = after(post, url)
        poisoned = after(post, url, {"items": [{"text": "poison"}]})
        until(lambda: len(serving.lanes[TASK].waiting) == 2)
        slow.predictor.let.set()
        assert [one.result().status_code for one in (first, beside, poisoned)] == [200, 200, 500]
        assert "something broke here" in poisoned.result().json()["error"]
        assert "RuntimeError" not in poisoned.result().text


def test_rows_that_wait_are_answered_together_up_to_the_budget_of_tokens(slow):
    sizes: list[int] = []
    with running([slow], Limits(batch_tokens=13)) as (url, serving):
        serving.lanes[TASK].told = sizes.append
        first = after(post, url)
        assert slow.predictor.began.wait(60)
        rest = [after(post, url) for _ in range(5)]
        until(lambda: len(serving.lanes[TASK].waiting) == 5)
        slow.predictor.let.set()
        assert {one.result().status_code for one in [first, *rest]} == {200}
    assert sizes == [1, 4, 1]  # 4 tokens each, as a bundle without a tokenizer counts


@pytest.mark.parametrize(
    ("costs", "groups"),
    [
        ([], []),
        ([5], [[0]]),
        ([40, 224, 41, 200, 42], [[1, 3], [4, 2, 0]]),
        ([10] * 40, [[*range(32)], [*range(32, 40)]]),
        ([300, 300, 900, 200, 200], [[2], [0], [1], [3, 4]]),
    ],
)
def test_rows_of_about_one_length_are_read_at_once(costs, groups):
    assert level(costs, 512) == groups


def raw(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def test_slow_clients_and_dropped_connections_harm_nobody(model):
    head = f"POST /v1/{TASK}/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    whole = json.dumps(BODY).encode()
    with running([model], Limits(body_seconds=1.0)) as (url, serving):
        half = [raw(url) for _ in range(20)]
        for number, line in enumerate(half):
            line.sendall(head[: 20 * number].encode() if number % 2 else head.encode())
            line.sendall(b"" if number % 2 else b"content-length: 1000\r\n\r\n{")
        for _ in range(20):  # asked, and gone before there is an answer
            with raw(url) as line:
                line.sendall(f"{head}content-length: {len(whole)}\r\n\r\n".encode() + whole)
        assert [post(url).status_code for _ in range(20)] == [200] * 20
        said = b"".join(iter(lambda: half[0].recv(4096), b""))
        assert said.startswith(b"HTTP/1.1 408")
        assert b"did not come within 1 seconds" in said
        for line in half:
            line.close()
        until(lambda: not serving.lanes[TASK].waiting)


def test_what_is_no_http_gets_a_sentence(model):
    with running([model]) as (url, _), raw(url) as line:
        line.sendall(b"GET / HTTP/1.1\r\nx: " + b"a" * 600_000)
        said = line.recv(65536)
        assert said.startswith(b"HTTP/1.1 400")
        assert b'{"error":"this is no HTTP' in said


@contextmanager
def begun(bundle: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    code = "from pipelines.cli import app; app()"
    command = ["serve", "--bundle", str(bundle), "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, "-c", code, *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_sigterm_finishes_what_was_begun_and_ends_well(bundle):
    port = free_port()
    url, many = f"http://127.0.0.1:{port}", {"items": [{"text": "the cache " * 2000}] * 100}
    with begun(bundle, port) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any(json.loads(line)["event"] == "serving" for line in lines)
        assert post(url).status_code == 200
        waiting = after(post, url, many)
        with httpx.Client() as client:
            counted = 'outplant_waiting_items{task="changes"} 0.0'
            until(lambda: waiting.done() or counted not in client.get(f"{url}/metrics").text)
        process.send_signal(signal.SIGTERM)
        assert waiting.result().status_code == 200
        assert process.wait(60) == 0
        log = [json.loads(line) for line in lines]
    asked = [line for line in log if line.get("path") == f"/v1/{TASK}/predict"]
    assert [(one["status"], one["items"]) for one in asked] == [(200, 1), (200, 100)]
    assert "the cache" not in json.dumps(log)
    assert log[-1]["event"] == "stopped"


def test_a_port_that_is_taken_is_told_in_a_line(model):
    with running([model]) as (url, serving):
        port = int(url.rpartition(":")[2])
        other = server(build(serving), Watch(serving, []), "127.0.0.1", port)
        with pytest.raises(StepError, match=f"port {port} of 127.0.0.1 cannot be had"):
            run(other)


def test_texts_are_logged_only_where_asked_for(model, caplog):
    import logging

    from pipelines.serving_door import Door
    from pipelines.serving_state import Lines

    serving = Serving(Limits())
    door = Door(None, serving, "", texts=True)  # type: ignore[arg-type]
    state = {"identity": "x", "status": 200, "said": {"rows": BODY["items"]}}
    with caplog.at_level(logging.INFO, "outplant.serving"):
        door._note({"path": "/v1", "method": "POST", "state": state}, 0.1)
    line = json.loads(Lines().format(caplog.records[-1]))
    assert line["rows"] == BODY["items"]
    assert asyncio.iscoroutinefunction(door.__call__)
    serving.close()


@pytest.mark.slow
def test_mlflow_serves_the_same_version_and_writes_its_dockerfile(project):
    port, found = free_port(), str(Path(sys.executable).parent)
    settings = {"PYTHONPATH": str(ROOT), "PATH": f"{found}:{os.environ['PATH']}"}
    settings["MLFLOW_TRACKING_URI"] = f"sqlite:///{project}/mlflow.db"
    model = ["-m", f"models:/{TASK}@champion", "--env-manager", "local"]
    command = ["mlflow", "models", "serve", *model, "--port", str(port)]
    with serving_elsewhere(command, project / "served", settings, f"http://127.0.0.1:{port}/ping"):
        texts = [item["text"] for item in BODY["items"]]
        said = httpx.post(f"http://127.0.0.1:{port}/invocations", json={"inputs": texts})
        assert said.status_code == 200, said.text
        assert said.json() == {"predictions": answering.load(TASK).answer(BODY["items"])}
    written = [sys.executable, "-m", "mlflow", "models", "generate-dockerfile", *model]
    subprocess.run([*written, "-d", "image"], env=os.environ | settings, check=True)
    assert "FROM" in Path("image/Dockerfile").read_text()
