"""What tests of the page share: answerers of every type, a tiny model, a server on a free port."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI

from pipelines import page
from pipelines.answering import Answerer, opened
from steps.core.files import write_json, write_text
from steps.tasks import task_type
from steps.transfer.checkpoints import Predictor
from steps.transfer.strategies import Material
from tests.families import make_family
from tests.test_attribution import FULL, fitted, planted
from tests.tiny import EXAMPLES

START_SECONDS = 60
CARD = """---
tags: [outplant]
---
# entities: full

| recipe | test |
|---|---|
| full | <script>x</script> |
"""


def made(kind: str, folder: Path, version: int = 3) -> Answerer:
    """An answerer of a type whose scores are drawn; how they become answers is the type's own."""
    module = task_type(kind)
    labels = module.labels(EXAMPLES[kind](24))
    classes = module.classes(labels) if hasattr(module, "classes") else labels
    predictor = Predictor(
        module, classes, lambda _, items: [_raw(module, i, classes) for i in items]
    )
    about(folder, kind, labels)
    return Answerer(kind, kind, version, "full", f"lineage{version}", folder, predictor)


def about(folder: Path, kind: str, labels: list[str], recipe: str = "full") -> None:
    """Write what of a bundle the page reads beside the model."""
    known = {"task": kind, "type": kind, "recipe": recipe, "seed": 1, "test": {"mean": 0.5}}
    write_json(folder / "bundle.json", known | {"labels": labels})
    write_json(folder / "lineage.json", {"task": kind, "sha256": {"start": "abc"}})
    write_text(folder / "README.md", CARD)


def _raw(module: Any, item: dict[str, Any], classes: list[str]) -> Any:
    """What a network could have given: of the same text always the same."""
    draw = np.random.default_rng(sum(item[module.INPUTS[-1]].encode()))
    if module.OUTPUT == "span":
        return np.array([[0, min(3, len(item["text"])), 2.0], [-1, -1, 1.0]])
    if module.OUTPUT == "text":
        return {"text": "so it is", "confidence": 0.5, "loss": 1.0, "words": 3}
    if module.OUTPUT == "vector":
        return {"query": draw.normal(size=4), "passage": None}
    if module.OUTPUT == "number":
        return np.array([[0.25]])
    shares = draw.random((len(module.units(item)), len(classes)))
    return shares if module.OUTPUT == "labels" else shares / shares.sum(axis=1, keepdims=True)


def tiny(room: Path) -> Answerer:
    """A tiny real model that marks `crash` as a fix and `support` as a feature."""
    labels = ["feature", "fix"]
    given = Material(
        "tokens", task_type("tokens").classes(labels), planted(40), 64, planted(8), room=room / "r"
    )
    base = make_family("bert", room / "base")
    bundle = fitted("tokens", {"strategy": "full"} | FULL, base, room, given)
    about(bundle, "tokens", labels)
    return opened(bundle, 3, "lineage3")


@contextmanager
def served(*answerers: Answerer, challenger: Answerer | None = None) -> Iterator[str]:
    """Serve the page with these, and a challenger for all of them; give its address."""
    app = FastAPI()
    champions = {one.task: lambda one=one: one for one in answerers}
    page.mount(app, champions, {task: lambda: challenger for task in champions})
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert time.monotonic() < deadline
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
