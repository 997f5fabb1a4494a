"""What stands before the application: who may come in, how much they may bring, what is noted."""

import asyncio
import base64
import hmac
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serving_state import Serving, note

OPEN = ("/healthz", "/readyz")  # for probes, which have no token
HEADER_BYTES = 32_000
IDENTITY = re.compile(r"[\w.:-]{1,64}", re.ASCII)


def problem(status: int, sentence: str, identity: str, **headers: str) -> Response:
    """Say in a sentence why there is no answer."""
    return JSONResponse({"error": sentence, "request_id": identity}, status, headers)


class Door:
    """Wraps an application. `token`: what must be shown, if any; `texts`: whether they are noted.

    A browser is asked for the token as a password, whatever the name.
    """

    def __init__(self, app: ASGIApp, serving: Serving, token: str, texts: bool = False) -> None:
        self.app, self.serving, self.token, self.texts = app, serving, token, texts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._known(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, state = time.perf_counter(), scope.setdefault("state", {})
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if IDENTITY.fullmatch(given) else uuid.uuid4().hex
        state |= {"identity": identity, "said": {}, "status": 0}

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            await send(message)

        try:
            await self._enter(scope, receive, sent)
        finally:
            self._note(scope, time.perf_counter() - began)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, identity = Headers(scope=scope), scope["state"]["identity"]
        refusal = self._refusal(scope, headers)
        if refusal is None and scope["method"] in ("POST", "PUT", "PATCH"):
            read = await self._body(headers, receive)
            if isinstance(read, int):
                refusal = problem(read, self._why(read), identity, connection="close")
            else:
                receive = _again(read, receive)
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        identity = scope["state"]["identity"]
        if scope["path"] not in OPEN and not self._known(headers):
            sentence = "this server asks for a token; send `Authorization: Bearer TOKEN`"
            asks = {"WWW-Authenticate": 'Basic realm="outplant", Bearer'}
            return problem(401, sentence, identity, **asks)
        if sum(len(name) + len(value) for name, value in headers.raw) > HEADER_BYTES:
            sentence = f"the headers have more than {HEADER_BYTES:,} bytes; send fewer"
            return problem(431, sentence, identity)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        predicts = scope["path"].startswith("/v1/") and scope["method"] == "POST"
        if predicts and kind != "application/json":
            sentence = f"the body is {kind[:60] or 'of no type'}; send it as application/json"
            return problem(415, sentence, identity)
        return None

    def _known(self, headers: Headers) -> bool:
        if not self.token:
            return True
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            shown = _password(shown)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(shown.strip().encode(), self.token.encode())

    async def _body(self, headers: Headers, receive: Receive) -> bytes | int:
        """Read the body; the status of a refusal where it is too long or too slow."""
        most = self.serving.limits.body_bytes
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            return 413
        try:
            async with asyncio.timeout(self.serving.limits.body_seconds):
                return await _read(receive, most)
        except TimeoutError:
            return 408

    def _why(self, status: int) -> str:
        limits = self.serving.limits
        if status == 413:
            return f"the body has more than {limits.body_bytes:,} bytes; send fewer texts at once"
        if status == 408:
            return f"the body did not come within {limits.body_seconds:g} seconds; send it faster"
        return "the connection closed before the body was whole; send it again"

    def _note(self, scope: Scope, seconds: float) -> None:
        state = scope["state"]
        said: dict[str, Any] = state["said"]
        if task := said.get("task"):
            self.serving.metrics.requests.labels(task, state["status"]).inc()
            self.serving.metrics.seconds.labels(task).observe(seconds)
        if scope["path"] in OPEN:
            return
        about = {"request_id": state["identity"], "method": scope["method"]}
        about |= {"path": scope["path"], "status": state["status"], "seconds": round(seconds, 4)}
        texts = said.pop("rows", None)
        note("request", **about, **said, **({"rows": texts} if self.texts and texts else {}))


async def _read(receive: Receive, most: int) -> bytes | int:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return 400
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return 413
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read, then what comes after it."""
    waiting = [body]

    async def read() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return read


def _password(shown: str) -> str:
    try:
        return base64.b64decode(shown, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
