"""Follow the registry: when `champion` moves, its model is loaded, proved, and takes over."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipelines import answering, registry
from pipelines.answering import Answerer
from pipelines.serving_state import Serving, note, prove
from pipelines.versions import CHALLENGER, CHAMPION, Version
from steps.core.entry import StepError


@dataclass(eq=False)
class Watch:
    """`tasks`: those that follow the registry; `shadow`: whether challengers answer, too."""

    serving: Serving
    tasks: list[str]
    shadow: bool = False
    refused: dict[tuple[str, str], int] = field(default_factory=dict)  # task, alias -> version

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while self.tasks:
            for task in self.tasks:
                await self.look(task)
            await asyncio.sleep(self.serving.limits.poll_seconds)

    async def look(self, task: str) -> None:
        """See where a task's aliases point, once."""
        await self._follow(task, CHAMPION, self.serving[task].version, self.serving.swap)
        if self.shadow:
            other = self.serving.challenger(task)
            now = other.version if other else None
            await self._follow(task, CHALLENGER, now, self._challenge)

    def _challenge(self, model: Answerer) -> None:
        """The champion itself is no challenger."""
        same = model.version == self.serving[model.task].version
        self.serving.shadow(model.task, None if same else model)

    async def _follow(
        self, task: str, alias: str, now: int | None, take: Callable[[Answerer], None]
    ) -> None:
        found, error = await _tried(registry.aliased, task, alias)
        self.serving.metrics.registry_up.set(error is None)
        where = f"{task} {alias}"
        if error is not None:
            self._tell(where, f"the registry does not answer; {task} stays as it is", error)
            return
        if found is None or found.number == now:
            self.refused.pop((task, alias), None)
            missing = f"{task} has no champion any more; the one before answers"
            self._tell(where, missing if found is None and alias == CHAMPION else "")
            return
        if self.refused.get((task, alias)) == found.number or self._is_champion(alias, found):
            return
        await self._take(found, alias, now, take)

    def _is_champion(self, alias: str, found: Version) -> bool:
        here = alias == CHALLENGER and found.number == self.serving[found.task].version
        if here:
            self.serving.shadow(found.task, None)
        return here

    async def _take(
        self, found: Version, alias: str, now: int | None, take: Callable[[Answerer], None]
    ) -> None:
        where = f"{found.task} {alias}"
        model, error = await _tried(self._load, found)
        if error is None:
            take(model)
            self._tell(where, "")
            note("version", task=found.task, alias=alias, before=now, now=found.number)
            return
        self.refused[found.task, alias] = found.number
        self.serving.metrics.refused.labels(found.task).inc()
        self._tell(where, f"version {found.number} of {found.task} is refused", error)

    def _load(self, found: Version) -> Answerer:
        model = answering.opened(registry.files(found)[0], found.number, found.lineage)
        before = self.serving[found.task]
        if model.type != before.type:
            raise StepError(f"it is of type {model.type}, not {before.type}; start the server anew")
        return prove(model)

    def _tell(self, where: str, what: str, error: BaseException | None = None) -> None:
        """Keep what is wrong for /readyz; log it once."""
        sentence = f"{what} ({' '.join(str(error).split())[:300]})" if error else what
        if sentence and self.serving.notes.get(where) != sentence:
            note("registry", logging.WARNING, problem=sentence)
        self.serving.notes[where] = sentence


async def _tried(do: Callable[..., Any], *given: Any) -> tuple[Any, BaseException | None]:
    """Call in a thread; whatever it raises is said, and stops no server."""
    work = asyncio.ensure_future(asyncio.to_thread(do, *given))
    await asyncio.wait({work})
    error = work.exception()
    return (None, error) if error else (work.result(), None)
