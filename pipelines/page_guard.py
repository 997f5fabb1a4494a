"""What stands before the page: a password where one is asked for, and doors of Gradio kept shut.

The page takes no files and gives none, so that what Gradio has for that is not found.
"""

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

SHUT = ("file", "proxy=", "upload", "stream", "process_recording", "custom_component", "vibe")
SHUT += ("call/", "run/", "api/", "undo-vibe", "dev/", "component_server", "deep_link", "info")
SHUT += ("openapi", "runs", "run-history", "profiling")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; img-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; font-src 'self' data:; frame-ancestors 'self'"
)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware for the addresses below `root`; all others pass as they are."""

    def __init__(self, app: App, root: str, token: str) -> None:
        self.app, self.root, self.token = app, root, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or not (path == self.root or path.startswith(f"{self.root}/")):
            await self.app(scope, receive, send)
        elif self.token and not allowed(Headers(scope=scope).get("authorization", ""), self.token):
            asks = {"WWW-Authenticate": 'Basic realm="outplant", charset="UTF-8"'}
            answer = PlainTextResponse("the token, as the password, is needed", 401, asks)
            await answer(scope, receive, send)
        elif self._shut(path):
            await PlainTextResponse("there is no such page", 404)(scope, receive, send)
        else:
            await self.app(scope, receive, _strict(send))

    def _shut(self, path: str) -> bool:
        inside = path.removeprefix(f"{self.root}/")
        below = inside.removeprefix("gradio_api/")
        return below.startswith(SHUT) or inside.startswith("monitoring") or ".." in inside


def allowed(said: str, token: str) -> bool:
    """Whether a request's Authorization has the token: as a bearer, or as any user's password."""
    how, _, what = said.partition(" ")
    if how.lower() == "basic":
        try:
            what = base64.b64decode(what, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif how.lower() != "bearer":
        return False
    return secrets.compare_digest(what.encode(), token.encode())


def _strict(send: Send) -> Send:
    """Forbid the browser to load anything from elsewhere."""

    async def forward(message: Scope) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("content-security-policy", POLICY)
            headers.setdefault("x-content-type-options", "nosniff")
        await send(message)

    return forward
