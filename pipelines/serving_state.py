"""What a server has at hand: a lane a task, its challenger, how it does."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pipelines.answering import Answerer, Row
from pipelines.serving_lane import Full, Job, Lane, beside
from pipelines.serving_metrics import Metrics
from pipelines.serving_schemas import ANSWERS, Limits, Served
from steps.core.entry import StepError

Log = Callable[[str, int | None, list[Row], list[Row], float], None]
"""Hears what was asked and answered: task, version, rows, answers, seconds."""
EXAMPLES = ("An example text.", "And another one, that is a little longer than the first.")
said = logging.getLogger("outplant.serving")


class Timeout(Exception):
    """No answer came in time."""


class Gone(Exception):
    """Who asked has hung up."""


def note(event: str, level: int = logging.INFO, **more: Any) -> None:
    """Write a line of JSON to the log."""
    said.log(level, event, extra={"more": more})


class Lines(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname.lower()}
        line |= {"event": record.getMessage(), **getattr(record, "more", {})}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def pool() -> ThreadPoolExecutor:
    """The thread that answers."""
    return ThreadPoolExecutor(1, "answers")


def prove(model: Answerer) -> Answerer:
    """Let a model answer examples, by the fastest engine that it runs in; StepError where it does
    not, or by no numbers.
    """
    from steps.transfer.engine import quicken

    slow = quicken(getattr(model.predictor, "scorer", None))
    kind = "torch" if slow else "openvino"
    note("engine", task=model.task, version=model.version, engine=kind, why=slow)
    rows = [dict.fromkeys(model.inputs, text) for text in EXAMPLES]
    answers = model.answer(rows)
    form = ANSWERS[model.type]
    try:
        for answer in answers:
            form.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StepError(f"its self-test says {first['msg'].lower()} at {where}") from None
    if len(answers) != len(rows):
        raise StepError(f"its self-test gave {len(answers)} answers to {len(rows)} texts")
    return model


@dataclass(eq=False)
class Serving(Mapping[str, Answerer]):
    """Task -> the model that answers now. `ready`: whether it takes requests."""

    limits: Limits
    log: Log | None = None
    metrics: Metrics = field(default_factory=Metrics)
    pool: Executor = field(default_factory=pool)
    lanes: dict[str, Lane] = field(default_factory=dict)
    shadows: dict[str, Lane] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # what is wrong, of a task
    ready: bool = True
    loop: asyncio.AbstractEventLoop | None = None  # where all of this happens, once it is begun
    _hears: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "log"))

    def __getitem__(self, task: str) -> Answerer:
        return self.lanes[task].model

    def __iter__(self) -> Iterator[str]:
        return iter(self.lanes)

    def __len__(self) -> int:
        return len(self.lanes)

    def add(self, model: Answerer) -> None:
        """Serve a task by a model that has proved itself."""
        if model.task in self.lanes:
            raise StepError(f"{model.task} is given twice; name it once")
        told = self.metrics.batch.labels(model.task).observe
        most, tokens = self.limits.waiting, self.limits.batch_tokens
        lane = self.lanes[model.task] = Lane(model, self.pool, most, tokens, told)
        self.metrics.waiting.labels(model.task).set_function(lambda: len(lane.waiting))
        self.metrics.version.labels(model.task).set(_number(model))

    def swap(self, model: Answerer) -> None:
        """Let a model take over; the one before finishes what it has begun, and is let go."""
        self.lanes[model.task].model = model
        self.metrics.version.labels(model.task).set(_number(model))

    def shadow(self, task: str, model: Answerer | None) -> None:
        """Let a challenger answer, too, or none."""
        if model is None:
            self.shadows.pop(task, None)
        elif task in self.shadows:
            self.shadows[task].model = model
        else:
            self.shadows[task] = beside(self.lanes[task], model)

    def challenger(self, task: str) -> Answerer | None:
        """The model that answers beside a task's champion, if there is one."""
        lane = self.shadows.get(task)
        return lane.model if lane else None

    def served(self) -> list[Served]:
        """Describe each task."""
        return [self._served(task, model) for task, model in self.items()]

    def _served(self, task: str, model: Answerer) -> Served:
        other = self.challenger(task)
        return Served(
            task=task,
            type=model.type,
            inputs=list(model.inputs),
            version=model.version,
            recipe=model.recipe,
            challenger=other.version if other else None,
        )

    async def ask(self, task: str, rows: list[Row], gone: "asyncio.Future[Any]") -> Job:
        """Answer rows, and let a challenger; Full, Timeout, or Gone where `gone` comes first."""
        job = await self._answered(task, rows, {gone})
        self._shadow(task, rows)
        return job

    def wait(self, model: Answerer, rows: list[Row]) -> list[Row]:
        """Let one of a task's models answer rows in its queue, from a thread that may wait;
        StepError in a sentence where it is full, no answer comes in time, or the model fails.
        """
        assert self.loop is not None, "the server is not begun"
        asked = asyncio.run_coroutine_threadsafe(
            self._answered(model.task, rows, set(), model), self.loop
        )
        error = asked.exception()
        if error is None:
            return asked.result().done.result()
        if isinstance(error, Full):
            raise StepError(f"{self.full(model.task)}; try again in a second.")
        if isinstance(error, Timeout):
            raise StepError(f"{self.late()}; try again, or a shorter text.")
        note("failed", logging.ERROR, task=model.task, error=f"{type(error).__name__}: {error}")
        raise StepError("Something broke here; the server's log has it.")

    def full(self, task: str) -> str:
        """Say that no more rows are taken."""
        return f"{self.limits.waiting:,} texts wait for {task}"

    def late(self) -> str:
        """Say that no answer came in time."""
        return f"no answer within {self.limits.seconds:g} seconds"

    async def _answered(
        self,
        task: str,
        rows: list[Row],
        gone: "set[asyncio.Future[Any]]",
        model: Answerer | None = None,
    ) -> Job:
        began = time.perf_counter()
        job = self.lanes[task].put(rows, model)
        first, most = asyncio.FIRST_COMPLETED, self.limits.seconds
        done, _ = await asyncio.wait({job.done} | gone, timeout=most, return_when=first)
        if job.done not in done:
            job.done.cancel()
            raise Gone if done else Timeout
        answers = job.done.result()
        self.metrics.items.labels(task).inc(len(rows))
        self._hear(job.model, rows, answers, time.perf_counter() - began)
        return job

    def _hear(
        self, model: Answerer | None, rows: list[Row], answers: list[Row], seconds: float
    ) -> None:
        """Tell the log, in a thread of its own."""
        if self.log is None or model is None:
            return
        what = (model.task, model.version, rows, answers, seconds)
        asyncio.get_running_loop().run_in_executor(self._hears, self.log, *what).add_done_callback(
            _complain
        )

    def _shadow(self, task: str, rows: list[Row]) -> None:
        """Put rows into the challenger's lane, if there is room."""
        lane, count = self.shadows.get(task), self.metrics.shadowed
        if lane is None:
            return
        began = time.perf_counter()
        try:
            job = lane.put(rows)
        except Full:
            count.labels(task, "dropped").inc(len(rows))
            return

        def heard(done: "asyncio.Future[list[Row]]") -> None:
            _complain(done)
            failed = done.cancelled() or done.exception() is not None
            count.labels(task, "failed" if failed else "answered").inc(len(rows))
            if not failed:
                self._hear(job.model, rows, done.result(), time.perf_counter() - began)

        job.done.add_done_callback(heard)

    def close(self) -> None:
        """Finish what was begun."""
        self.pool.shutdown()
        self._hears.shutdown()


def _complain(done: "asyncio.Future[Any]") -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        note("failed", logging.ERROR, error=f"{type(error).__name__}: {error}")


def _number(model: Answerer) -> float:
    return math.nan if model.version is None else model.version
