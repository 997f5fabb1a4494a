"""What stands before the page: a password where one is asked for, and doors of Gradio kept shut.

Of Gradio's addresses those alone are open that the page asks for: it takes no files and gives none.
"""

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

OPEN = {"", "config", "theme.css", "manifest.json", "robots.txt"}
OPEN |= {
    f"gradio_api/{name}"
    for name in ("queue/join", "queue/data", "startup-events", "theme.css", "cancel", "reset")
}
FOLDERS = ("assets/", "static/", "about/", "gradio_api/heartbeat/")
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
        if not (path == self.root or path.startswith(f"{self.root}/")):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":  # the page has none
            await send({"type": "websocket.close"})
        elif self.token and not allowed(Headers(scope=scope).get("authorization", ""), self.token):
            asks = {"WWW-Authenticate": 'Basic realm="outplant", charset="UTF-8"'}
            answer = PlainTextResponse("the token, as the password, is needed", 401, asks)
            await answer(scope, receive, send)
        elif self._shut(path):
            await PlainTextResponse("there is no such page", 404)(scope, receive, send)
        else:
            await self.app(scope, receive, _strict(send))

    def _shut(self, path: str) -> bool:
        inside = path.removeprefix(self.root).removeprefix("/")
        known = inside.rstrip("/") in OPEN or inside.startswith(FOLDERS)
        return not known or ".." in inside or "\\" in inside


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
