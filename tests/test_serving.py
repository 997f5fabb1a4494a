"""The API answers as evaluation does; what it does not take it refuses in a sentence."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from pipelines import answering, serving_commands, serving_process
from pipelines.cli import app
from pipelines.serving import build
from pipelines.serving_door import HEADER_BYTES
from pipelines.serving_schemas import ANSWERS, Limits
from pipelines.serving_state import Serving
from steps.core.entry import StepError
from steps.tasks import TASKS
from steps.transfer.checkpoints import load_predictor
from tests.serving import bundled, running
from tests.tiny import EXAMPLES, make_base

LIMITS = Limits(body_bytes=400_000, texts=64, characters=5_000)
PATH = "/v1/classification/predict"
JSON = {"content-type": "application/json"}
LONG = "the DEBUG9 option of save_3 in cache page user. " * 20  # more than a window of 64 tokens


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A baseline of every type, and networks whose name says so."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {kind: bundled(folder / kind, kind) for kind in TASKS}
    base = make_base(folder / "base")
    for kind in ("tokens", "question_answering"):
        task = f"{kind}_network"
        made[task] = bundled(folder / task, kind, base, task)
    return made


@pytest.fixture(scope="module")
def client(bundles: dict[str, Path]) -> Iterator[httpx.Client]:
    models = [answering.opened(bundle) for bundle in bundles.values()]
    with running(models, LIMITS) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        yield client


def items(task: str, count: int = 8) -> list[dict[str, str]]:
    kind = task.removesuffix("_network")
    fields = ("question", "text") if kind == "question_answering" else ("text",)
    fields = ("text", "pair") if kind == "pairs" else fields
    return [{name: row[name] for name in fields} for row in EXAMPLES[kind](count)]


def ask(client: httpx.Client, task: str, asked: list[dict[str, str]]) -> list[dict[str, Any]]:
    said = client.post(f"/v1/{task}/predict", json={"items": asked})
    assert said.status_code == 200, said.text
    answers: list[dict[str, Any]] = said.json()["answers"]
    return answers


def close(one: Any, other: Any) -> bool:
    """Whether answers are the same; numbers may be as far apart as sums in another order are."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == pytest.approx(other, abs=0.02) if isinstance(one, float) else one == other)


@pytest.mark.parametrize("task", [*TASKS, "tokens_network", "question_answering_network"])
def test_an_answer_is_that_of_evaluation(task, client, bundles):
    asked = items(task)
    said = ask(client, task, asked)
    assert said == load_predictor(bundles[task]).predict(asked)
    for answer in said:
        ANSWERS[task.removesuffix("_network")].model_validate(answer)


def test_every_task_type_has_its_answer():
    assert ANSWERS.keys() == TASKS.keys()


def test_long_texts_are_split_and_merged(client, bundles):
    said = ask(client, "tokens_network", [{"text": LONG}])
    assert said == load_predictor(bundles["tokens_network"]).predict([LONG])
    assert max(entity["end"] for entity in said[0]["entities"]) > len(LONG) // 2


@pytest.mark.parametrize("task", ["tokens_network", "question_answering_network"])
def test_a_batch_says_what_each_text_alone_does(task, client):
    asked = [*items(task), items(task, 1)[0] | {"text": LONG}]
    assert close(ask(client, task, asked), [ask(client, task, [one])[0] for one in asked])


def test_the_response_says_who_answered_and_to_which_request(client):
    body = {"items": items("classification", 1)}
    said = client.post(PATH, json=body, headers={"X-Request-ID": "mine-1"})
    assert said.headers["x-request-id"] == said.json()["request_id"] == "mine-1"
    assert {k: said.json()[k] for k in ("task", "version", "recipe")} == {
        "task": "classification",
        "version": None,
        "recipe": "baseline",
    }
    made = client.post(PATH, json=body, headers={"X-Request-ID": "no id {}"})
    assert len(made.headers["x-request-id"]) == 32


def test_its_state_and_its_metrics_can_be_read(client):
    ask(client, "pairs", items("pairs", 3))
    assert client.get("/healthz").json()["state"] == "alive"
    assert client.get("/readyz").json() == {"state": "ready", "notes": []}
    tasks = {one["task"]: one["inputs"] for one in client.get("/v1/tasks").json()["tasks"]}
    assert tasks["pairs"] == ["text", "pair"]
    assert client.get("/docs").status_code == 200
    lines = client.get("/metrics").text.splitlines()
    assert any(line.startswith('outplant_items_total{task="pairs"}') for line in lines)
    assert any('outplant_requests_total{status="200",task="pairs"}' in line for line in lines)


def text(value: Any) -> bytes:
    return json.dumps({"items": [{"text": value}]}).encode()


BAD: dict[str, tuple[int, dict[str, Any]]] = {
    "no body": (422, {"content": b"", "headers": JSON}),
    "not JSON": (400, {"content": b"items: [a]", "headers": JSON}),
    "half of JSON": (400, {"content": text("a")[:-3], "headers": JSON}),
    "no UTF-8": (400, {"content": b'{"items": [{"text": "\xff"}]}', "headers": JSON}),
    "nested deeply": (400, {"content": b"[" * 100_000, "headers": JSON}),
    "no content type": (415, {"content": text("a")}),
    "another content type": (415, {"data": {"text": "a"}}),
    "a file": (415, {"files": {"text": b"a"}}),
    "a body too long": (413, {"content": text("a" * 10_000_000), "headers": JSON}),
    "a body in parts too long": (413, {"content": iter([b"a" * 100_000] * 9), "headers": JSON}),
    "a text too long": (422, {"content": text("a" * 5_001), "headers": JSON}),
    "too many texts": (422, {"json": {"items": [{"text": "a"}] * 10_000}}),
    "no items": (422, {"json": {"items": []}}),
    "items is null": (422, {"json": {"items": None}}),
    "a list": (422, {"json": [{"text": "a"}]}),
    "a string": (422, {"json": "a"}),
    "null": (422, {"content": b"null", "headers": JSON}),
    "an unknown field": (422, {"json": {"items": [{"text": "a"}], "top": 3}}),
    "an unknown field of an item": (422, {"json": {"items": [{"text": "a", "label": "fix"}]}}),
    "an item without a text": (422, {"json": {"items": [{}]}}),
    "an item that is a string": (422, {"json": {"items": ["a"]}}),
    "a text that is null": (422, {"content": text(None), "headers": JSON}),
    "a text that is a number": (422, {"content": text(3), "headers": JSON}),
    "a text that is no number": (422, {"content": text(float("nan")), "headers": JSON}),
    "a text that is a list": (422, {"content": text(["a"]), "headers": JSON}),
    "half a character": (422, {"content": text("\ud800"), "headers": JSON}),
    "a long header": (431, {"content": text("a"), "headers": JSON | {"x": "a" * 40_000}}),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_request_gets_a_sentence(kind, client):
    status, request = BAD[kind]
    said = client.post(PATH, **request)
    assert (said.status_code, said.headers["content-type"]) == (status, "application/json")
    assert said.json().keys() == {"error", "request_id"}
    assert 10 < len(said.json()["error"]) < 250
    assert "\n" not in said.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/cooking/predict", 404),
        ("POST", "/v1/classification/train", 404),
        ("GET", "/nothing", 404),
        ("GET", PATH, 405),
        ("DELETE", PATH, 405),
        ("PUT", "/v1/tasks", 405),
        ("BREW", PATH, 405),
    ],
)
def test_a_wrong_address_gets_a_sentence(method, path, status, client):
    said = client.request(method, path, json={"items": [{"text": "a"}]})
    assert (said.status_code, said.json().keys()) == (status, {"error", "request_id"})
    if status == 404:
        assert "classification" in said.json()["error"]


def test_schemathesis_finds_no_error_of_ours(client):
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        response_schema_conformance,
        status_code_conformance,
    )

    held = [not_a_server_error, response_schema_conformance, status_code_conformance]
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    schema.config.update(base_url=str(client.base_url))
    good, bad = schemathesis.GenerationMode
    wanted = {"/v1/tokens/predict": (good, bad), "/v1/pairs/predict": (good, bad)}
    wanted |= {"/v1/tasks": (good,), "/readyz": (good,), "/metrics": (good,)}
    known = {one.ok().path: one.ok() for one in schema.get_all_operations()}
    for path, modes in wanted.items():
        for mode in modes:

            @settings(max_examples=10, database=None, suppress_health_check=list(HealthCheck))
            @given(case=known[path].as_strategy(generation_mode=mode))
            def holds(case: Any) -> None:
                case.call_and_validate(checks=held)

            holds()


@pytest.fixture(scope="module")
def guarded(bundles: dict[str, Path]) -> Iterator[httpx.Client]:
    models = [answering.opened(bundles["classification"])]
    with running(models, token="sésame") as (url, _), httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer open"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "sésame".encode()}, 401),
        ({"authorization": "Basic !!"}, 401),
        ({"authorization": "Bearer sésame".encode("latin-1")}, 200),
        ({"authorization": httpx.BasicAuth("me", "sésame")._auth_header}, 200),
    ],
)
def test_a_token_is_asked_for_where_there_is_one(given, status, guarded):
    said = guarded.post(PATH, json={"items": [{"text": "a"}]}, headers=given)
    assert said.status_code == status
    assert guarded.get("/metrics", headers=given).status_code == status
    if status == 401:
        assert "token" in said.json()["error"]
        assert "Bearer" in said.headers["www-authenticate"]


def test_probes_need_no_token(guarded):
    assert guarded.get("/healthz").status_code == guarded.get("/readyz").status_code == 200


def test_a_server_open_to_others_needs_a_token(monkeypatch):
    monkeypatch.delenv(serving_process.TOKEN, raising=False)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert serving_process.token(host) == ""
    for host in ("0.0.0.0", "::", "example.org"):
        with pytest.raises(StepError, match="set OUTPLANT_SERVE_TOKEN"):
            serving_process.token(host)
    monkeypatch.setenv(serving_process.TOKEN, "x")
    assert serving_process.token("0.0.0.0") == "x"


def test_what_is_missing_is_told_in_a_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    said = run.invoke(app, ["serve", "--bundle", str(tmp_path)])
    assert (said.exit_code, said.stderr.count("\n")) == (1, 1)
    assert "is no bundle" in said.stderr
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said = run.invoke(app, ["serve"])
    assert "no task has a champion; run `outplant promote TASK`" in said.stderr
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = run.invoke(app, ["serve"])
    assert said.stderr.strip().endswith(serving_commands.EXTRA)


def test_a_folder_is_asked_only_for_its_own_task(bundles):
    assert answering.load("pairs", bundles["pairs"]).inputs == ("text", "pair")
    with pytest.raises(StepError, match="is a bundle of pairs, not of tokens"):
        answering.load("tokens", bundles["pairs"])
    network = answering.opened(bundles["tokens_network"])
    assert network.cost({"text": "the cache"}) == 4
    assert HEADER_BYTES == 32_000


def test_the_schema_names_what_each_task_reads_and_says(bundles):
    serving = Serving(LIMITS)
    serving.add(answering.opened(bundles["question_answering"]))
    schema = build(serving).openapi()["components"]["schemas"]
    item = schema["QuestionAnsweringItem"]
    assert (item["required"], item["additionalProperties"]) == (["question", "text"], False)
    assert set(schema["Passage"]["required"]) == {"answer", "start", "confidence"}
    serving.close()
