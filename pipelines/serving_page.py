"""The page on the API's own server: who answers there, and who beside."""

from functools import lru_cache, partial

from fastapi import FastAPI

from pipelines import answering, page, registry
from pipelines.answering import Answerer
from pipelines.serving_state import Serving
from pipelines.versions import CHALLENGER

KEPT = 4  # challengers that are loaded for the page alone


def mount(app: FastAPI, serving: Serving, follow: list[str]) -> FastAPI:
    """Put the page beside the API; challengers come from the registry, of the tasks in `follow`."""
    champions = {task: partial(serving.__getitem__, task) for task in serving}
    others = {task: partial(_other, serving, task, task in follow) for task in serving}
    return page.mount(app, champions, others)


def _other(serving: Serving, task: str, followed: bool) -> Answerer | None:
    """The challenger: the one that answers in the shadow, else the registry's, loaded once."""
    if (found := serving.challenger(task)) or not followed:
        return found
    other = registry.aliased(task, CHALLENGER)
    if other is None or other.number == serving[task].version:
        return None
    return _loaded(task, other.number)


@lru_cache(maxsize=KEPT)
def _loaded(task: str, version: int) -> Answerer:
    return answering.load(task, version)
