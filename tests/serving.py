"""What tests of the API share: bundles of every task type, and a server with them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.answering import Answerer
from pipelines.serving import build
from pipelines.serving_door import Door
from pipelines.serving_process import server
from pipelines.serving_schemas import Limits
from pipelines.serving_state import Log, Serving
from pipelines.serving_watch import Watch
from steps.core.files import write_json
from steps.tasks import task_type
from steps.transfer.checkpoints import save_bundle_model
from steps.transfer.strategies import strategy
from tests.trained import material

NETWORK = {"learning_rate": 2e-3, "epochs": 4, "batch_tokens": 64}
DEADLINE = 60


def bundled(folder: Path, kind: str, base: Path | None = None, task: str = "") -> Path:
    """A bundle of a baseline, or of a network over a base, that has learnt 24 examples."""
    name = "full" if base else "baseline"
    knobs: dict[str, Any] = NETWORK if base else {"inverse_regularisation": 100.0}
    given, module = material(kind, folder / "room", 24), strategy(name)
    settings = module.Settings(strategy=name, start="none", **knobs)
    start = base or folder / "start"
    start.mkdir(parents=True, exist_ok=True)
    module.fit(given, settings, start, 1, folder / "candidate/seed-1")
    about = {"type": kind, "strategy": name, "classes": given.classes, "weights": {"1": "seed-1"}}
    write_json(folder / "candidate/candidate.json", about)
    save_bundle_model(start, folder / "candidate", 1, folder / "bundle")
    known = {"task": task or kind, "type": kind, "recipe": name, "temperature": None}
    known |= {"inputs": list(task_type(kind).INPUTS), "labels": given.classes}
    write_json(folder / "bundle/bundle.json", known)
    return folder / "bundle"


@contextmanager
def running(
    models: list[Answerer],
    limits: Limits | None = None,
    follow: list[str] | None = None,
    token: str = "",
    log: Log | None = None,
    shadow: bool = False,
) -> Iterator[tuple[str, Serving]]:
    """Serve on a free port of this machine, in a thread."""
    serving = Serving(limits or Limits(), log)
    list(map(serving.add, models))  # a loop would keep the last
    watch = Watch(serving, follow or [], shadow)
    made = server(Door(build(serving), serving, token), watch, "127.0.0.1", 0)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        until(lambda: made.started)
        host, port = made.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}", serving
    finally:
        made.should_exit = True
        thread.join()


def until(found: Any, seconds: float = DEADLINE) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
