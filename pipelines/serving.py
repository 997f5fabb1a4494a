"""Champions as an API: typed requests and answers a task, health, metrics, OpenAPI."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pipelines.answering import Answerer
from pipelines.serving_door import problem
from pipelines.serving_lane import Full
from pipelines.serving_schemas import Problem, Tasks, question, reply
from pipelines.serving_state import Gone, Serving, Timeout
from steps.core.files import read_json

RETRY_SECONDS = 1
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "What came is no JSON"},
    401: {"description": "No token, or a wrong one"},
    408: {"description": "The body came too slowly"},
    413: {"description": "The body is too long"},
    415: {"description": "The body is not declared as JSON"},
    431: {"description": "The headers are too long"},
    422: {"description": "The body is not what the task reads"},
    429: {"description": "Too many texts wait; try again after Retry-After seconds"},
    503: {"description": "The server stops"},
    504: {"description": "No answer came in time"},
}
REFUSALS = {status: about | {"model": Problem} for status, about in REFUSALS.items()}


def build(serving: Serving) -> FastAPI:
    """Make the application; `pipelines.serving_door.Door` is to stand before it."""
    app = FastAPIOffline(
        redoc_url=None,
        title="Outplant",
        summary="Champions of the registry, one path a task.",
        description="Answers are those of `outplant predict`: long texts are split and merged.",
        version="1",
    )
    for task, model in serving.items():
        _add_task(app, serving, task, model)
    _add_state(app, serving)
    app.exception_handler(RequestValidationError)(_unread)
    app.exception_handler(HTTPException)(_refused(serving))
    app.exception_handler(Exception)(_broken)
    return app


def _add_task(app: FastAPI, serving: Serving, task: str, model: Answerer) -> None:
    asks: Any = question(model.type, serving.limits)

    async def predict(body: Any, request: Request) -> Response:
        rows = [item.model_dump() for item in body.items]
        return await _answer(serving, task, rows, request)

    predict.__annotations__["body"] = asks
    about = read_json(model.bundle / "bundle.json")
    labels = ", ".join(about.get("labels") or [])
    app.post(
        f"/v1/{task}/predict",
        response_model=reply(model.type),
        responses=REFUSALS,
        operation_id=f"predict_{task}",
        summary=f"{task}: {model.type}",
        description=f"Labels: {labels}." if labels else None,
        tags=[task],
    )(predict)


async def _answer(
    serving: Serving, task: str, rows: list[dict[str, Any]], request: Request
) -> Response:
    identity = request.state.identity
    request.state.said |= {"task": task, "items": len(rows), "rows": rows}
    if not serving.ready:
        return problem(503, "the server stops; ask another", identity, connection="close")
    gone = asyncio.ensure_future(request.receive())
    try:
        job = await serving.ask(task, rows, gone)
    except Full:
        sentence = f"{serving.full(task)}; try again in a second"
        return problem(429, sentence, identity, **{"Retry-After": str(RETRY_SECONDS)})
    except Timeout:
        sentence = f"{serving.late()}; send fewer texts at once"
        return problem(504, sentence, identity)
    except Gone:
        return problem(400, "the connection was closed", identity)
    finally:
        gone.cancel()
    model = job.model or serving[task]
    request.state.said |= {"version": model.version}
    about: dict[str, Any] = {"task": task, "version": model.version, "recipe": model.recipe}
    about |= {"request_id": identity, "answers": job.done.result()}
    body = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body.encode(), media_type="application/json")


def _add_state(app: FastAPI, serving: Serving) -> None:
    asked: Any = {401: REFUSALS[401]}

    @app.get("/v1/tasks", response_model=Tasks, responses=asked, tags=["state"])
    async def tasks() -> Tasks:
        """Which tasks are served, by which version."""
        return Tasks(tasks=serving.served())

    @app.get("/healthz", response_model=State, tags=["state"])
    async def healthz() -> State:
        """Whether the process lives."""
        return State(state="alive", notes=[])

    @app.get("/readyz", response_model=State, responses={503: {"model": State}}, tags=["state"])
    async def readyz() -> Any:
        """Whether requests are taken; notes say what is wrong and yet stops nothing."""
        notes = sorted(set(filter(None, serving.notes.values())))
        found = State(state="ready" if serving.ready else "stopping", notes=notes)
        return JSONResponse(found.model_dump(), 200 if serving.ready else 503)

    @app.get("/metrics", response_class=Response, responses=asked, tags=["state"])
    async def metrics() -> Response:
        """Counters, for Prometheus."""
        return Response(serving.metrics.text(), media_type=CONTENT_TYPE_LATEST)


class State(BaseModel):
    """How the server does."""

    state: str
    notes: list[str]


async def _unread(request: Request, error: Exception) -> Response:
    """A body that is not what the task reads: where, and what was expected."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        sentence = f"the body is no JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
        return problem(400, sentence, request.state.identity)
    where = ".".join(str(part) for part in first["loc"][1:])[:100] or "the body"
    said = {
        "missing": f"{where} is missing; the fields are in /docs",
        "extra_forbidden": f"{where} is a field that this task does not read; leave it out",
        "model_attributes_type": f"{where} is no object; the fields are in /docs",
        "too_short": f"{where} is empty; send one item at least",
        "too_long": f"{where} has too many; {first['msg'].partition(', not')[0].lower()}",
        "string_unicode": f"{where} has half a character (a lone surrogate); send whole ones",
    }
    message = said.get(first["type"], f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}")
    message = message.encode(errors="replace").decode()
    return problem(422, message, request.state.identity)


def _refused(serving: Serving) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path, status = request.url.path[:100], error.status_code
        there = ", ".join(serving)
        sentences = {
            400: "the body is no JSON in UTF-8, or is nested too deeply; send plain JSON",
            404: f"there is nothing at {path}; the tasks here are: {there} (/v1/TASK/predict)",
            405: f"{path} does not take {request.method[:20]}; /docs has what it takes",
        }
        headers = dict(error.headers or {})
        sentence = sentences.get(status, str(error.detail))
        return problem(status, sentence, request.state.identity, **headers)

    return refused


async def _broken(request: Request, error: Exception) -> Response:
    """Our own mistake; the trace is in the log."""
    sentence = "something broke here; the log has it under this request_id"
    return problem(500, sentence, request.state.identity)
