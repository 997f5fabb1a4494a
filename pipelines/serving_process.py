"""The process that serves: what it begins with, how it listens, how it ends."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines import answering
from pipelines.answering import Answerer
from pipelines.request_log import RequestLog
from pipelines.serving_door import HEADER_BYTES, Door, problem
from pipelines.serving_schemas import Limits
from pipelines.serving_state import Lines, Log, Serving, note, prove
from pipelines.serving_watch import Watch
from steps.core.entry import StepError

TOKEN = "OUTPLANT_SERVE_TOKEN"


def token(host: str) -> str:
    """Return the token that is asked for; StepError where a server open to others has none."""
    found = os.environ.get(TOKEN, "")
    if not found and not loopback(host):
        raise StepError(
            f"--host {host} lets others in; set {TOKEN} to a token that they must send, or serve"
            " on 127.0.0.1"
        )
    return found


def loopback(host: str) -> bool:
    """Whether an address is this machine's own alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def begin(
    tasks: Sequence[str], bundles: Sequence[Path], limits: Limits, log: Log | None = None
) -> tuple[Serving, list[str]]:
    """Load what is served, and prove it; return those tasks that follow the registry."""
    from pipelines import registry

    follow = list(tasks)
    if not tasks and not bundles:
        follow = registry.champions()
        if not follow:
            raise StepError("no task has a champion; run `outplant promote TASK`")
    serving = Serving(limits, log)
    for model in [*map(answering.load, follow), *map(answering.opened, bundles)]:
        serving.add(_proved(model))
    threads(serving)
    return serving, follow


def _proved(model: Answerer) -> Answerer:
    try:
        return prove(model)
    except StepError as error:
        raise StepError(f"{model.bundle}: {error}; name another bundle or version") from None


def threads(serving: Serving) -> None:
    """Let torch use as many threads as answer fastest; OMP_NUM_THREADS has the last word."""
    import torch

    if "OMP_NUM_THREADS" in os.environ or torch.cuda.is_available():
        return
    from pipelines.serving_threads import fastest

    chosen = serving.pool.submit(fastest, list(serving.values())).result()
    note("threads", chosen=chosen)


class Protocol(H11Protocol):
    """HTTP/1.1 whose refusals are JSON, too; who says nothing is hung up on."""

    silent_seconds = Limits.body_seconds

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(self.silent_seconds, self._still_silent)

    def _still_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        said = problem(400, "this is no HTTP, or its headers are too long; send fewer", "")
        headers = [*said.raw_headers, (b"connection", b"close")]
        events = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(said.body)),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


class Server(uvicorn.Server):
    """Ends with status 0 when it is told to end, having finished what it has begun."""

    def __init__(self, config: uvicorn.Config, serving: Serving, watch: Watch) -> None:
        super().__init__(config)
        self.serving, self.watch = serving, watch

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGTERM, signal.SIGINT)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.serving.ready = False
        super().handle_exit(sig, frame)

    async def startup(self, sockets: Any = None) -> None:
        self.serving.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            ports = [s.getsockname() for server in self.servers for s in server.sockets]
            where = ["{}:{}".format(*port[:2]) for port in ports]
            note("serving", addresses=where, tasks=list(self.serving))
            self.looking = asyncio.ensure_future(self.watch.run())

    async def shutdown(self, sockets: Any = None) -> None:
        await super().shutdown(sockets)
        self.looking.cancel()
        self.serving.close()
        note("stopped")


def server(app: ASGIApp, watch: Watch, host: str, port: int) -> Server:
    """A server that is not begun yet."""
    serving = watch.serving
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        h11_max_incomplete_event_size=HEADER_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(serving.limits.seconds) + 1,
        lifespan="on",
    )
    return Server(config, serving, watch)


@contextlib.contextmanager
def kept(serving: Serving, folder: Path | None) -> Iterator[None]:
    """Keep what is asked in a folder, where one is named."""
    if folder is None:
        yield
        return
    log = RequestLog(folder, {task: model.type for task, model in serving.items()})
    serving.log = log
    try:
        yield
    finally:
        log.close()


def listen(
    app: ASGIApp,
    serving: Serving,
    followed: tuple[list[str], bool],
    at: tuple[str, int],
    shown: tuple[str, bool],
) -> None:
    """Serve until the end.

    followed: tasks whose aliases are watched, and whether challengers answer too; at: host, port;
    shown: the token that is asked for, and whether texts are in the lines of the log.
    """
    watch = Watch(serving, *followed)
    run(server(Door(app, serving, *shown), watch, *at))


def run(made: Server) -> None:
    """Serve until SIGTERM or Ctrl-C; StepError where the address cannot be had."""
    try:
        made.run()
    except SystemExit:
        where = f"port {made.config.port} of {made.config.host}"
        raise StepError(f"{where} cannot be had; name another with --port") from None


def logs() -> None:
    """Write JSON lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    for name, level in (("outplant", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
