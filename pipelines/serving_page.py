"""The page on the API's own server: who answers there, and who beside."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from fastapi import FastAPI

from pipelines import answering, page, registry
from pipelines.answering import Answerer, Row
from pipelines.serving_state import Serving
from pipelines.versions import CHALLENGER

KEPT = 4  # challengers that are loaded for the page alone


def mount(app: FastAPI, serving: Serving, follow: list[str]) -> FastAPI:
    """Put the page beside the API; challengers come from the registry, of the tasks in `follow`.

    Who asks on the page waits in the API's queue, and is in its log.
    """
    champions = {task: partial(_champion, serving, task) for task in serving}
    others = {task: partial(_other, serving, task, task in follow) for task in serving}
    return page.mount(app, champions, others)


@dataclass(frozen=True)
class Queue:
    """What stands for a model's predictor, and lets it answer when its turn comes."""

    serving: Serving
    model: Answerer

    @property
    def type(self) -> Any:
        return self.model.predictor.type

    def predict(self, rows: Sequence[Row]) -> list[Row]:
        return self.serving.wait(self.model, list(rows))


def queued(serving: Serving, model: Answerer) -> Answerer:
    """The same model, that is asked as the API's clients ask."""
    return replace(model, predictor=Queue(serving, model), lock=nullcontext())


def _champion(serving: Serving, task: str) -> Answerer:
    return queued(serving, serving[task])


def _other(serving: Serving, task: str, followed: bool) -> Answerer | None:
    """The challenger: the one that answers in the shadow, else the registry's, loaded once."""
    found = serving.challenger(task)
    if found is None and followed:
        other = registry.aliased(task, CHALLENGER)
        if other is not None and other.number != serving[task].version:
            found = _loaded(task, other.number)
    return queued(serving, found) if found else None


@lru_cache(maxsize=KEPT)
def _loaded(task: str, version: int) -> Answerer:
    return answering.load(task, version)
