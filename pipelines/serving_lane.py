"""Rows that wait for a task's model, and the batches in which it answers them.

One thread answers for all tasks, with all cores: two at once would only take them from each other.
A lane has one batch at work; what comes meanwhile is the next, so that nobody waits for company.
All but `_turn` runs on the event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from pipelines.answering import Answerer, Row

BEGIN = 32  # tokens that could be read while another batch is begun
ROWS = 32  # what a predictor reads at once
FITS = 1024  # tokens a CPU reads at once: of 2,048 torch takes twice as long for each (caches)


class Full(Exception):
    """So many rows wait that no more are taken."""


@dataclass(eq=False)
class Job:
    """A request's rows; all are answered by one model, that which begins them."""

    rows: list[Row]
    done: "asyncio.Future[list[Row]]"
    model: Answerer | None = None
    answers: dict[int, Row] = field(default_factory=dict)
    alone: bool = False  # it shares no batch: one that it was in has failed

    def take(self, answers: dict[int, Row]) -> None:
        self.answers |= answers
        if len(self.answers) == len(self.rows) and not self.done.done():
            self.done.set_result([self.answers[place] for place in range(len(self.rows))])

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(eq=False)
class Turn:
    """What is answered at once: (job, number of the row)."""

    parts: list[tuple[Job, int]] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    model: Answerer | None = None

    @property
    def jobs(self) -> list[Job]:
        return list(dict.fromkeys(job for job, _ in self.parts))

    def fits(self, job: Job, model: Answerer) -> bool:
        """Whether a job may be answered with what is in here already."""
        if not self.parts:
            return True
        first = self.parts[0][0]
        return model is self.model and (job is first or not (job.alone or first.alone))

    def answers(self) -> list[Row]:
        """In the order of the parts; rows of about one length are read at once."""
        found: dict[int, Row] = {}
        from steps.transfer.loop import device

        fits = FITS if device().type == "cpu" else ROWS * max(self.costs, default=0)
        for group in level(self.costs, fits):
            rows = [self.parts[at][0].rows[self.parts[at][1]] for at in group]
            assert self.model is not None
            found.update(zip(group, self.model.answer(rows), strict=True))
        return [found[at] for at in range(len(self.parts))]


def level(costs: list[int], fits: int) -> list[list[int]]:
    """Group rows, by number, so that little is read of what fills each up to the longest, and of
    all no more tokens than `fits`, but for a row that has more by itself.
    """
    groups: list[list[int]] = []
    filled = longest = 0
    for at in sorted(range(len(costs)), key=lambda at: -costs[at]):
        filled += longest - costs[at]
        count = len(groups[-1]) + 1 if groups else 0
        if not groups or filled > BEGIN or count > ROWS or count * longest > fits:
            groups.append([])
            filled, longest = 0, costs[at]
        groups[-1].append(at)
    return groups


@dataclass(eq=False)
class Lane:
    """`may`: whether it may begin; `idle`: is called where nothing waits; `told`: of each batch."""

    model: Answerer
    pool: Executor
    most: int
    tokens: int
    told: Callable[[int], None] = lambda rows: None
    may: Callable[[], bool] = lambda: True
    idle: Callable[[], None] = lambda: None
    waiting: deque[tuple[Job, int]] = field(default_factory=deque)
    busy: bool = False

    def put(self, rows: list[Row], model: Answerer | None = None) -> Job:
        """Queue rows, for the lane's model unless another is named; Full where there is no room.

        Cancel `done` to give them up.
        """
        if len(self.waiting) + len(rows) > self.most:
            raise Full
        job = Job(rows, asyncio.get_running_loop().create_future(), model)
        self.waiting.extend((job, place) for place in range(len(rows)))
        self.wake()
        return job

    def wake(self) -> None:
        """Begin a batch, unless one is at work."""
        if self.busy or not self.waiting or not self.may():
            return
        self.busy, turn = True, Turn()
        work = asyncio.get_running_loop().run_in_executor(self.pool, self._turn, turn)
        work.add_done_callback(lambda done: self._finish(turn, done))

    def _turn(self, turn: Turn) -> list[Row]:
        """Take what waits, up to the budget of tokens, and answer it."""
        spent = 0
        while self.waiting and spent < self.tokens:
            job, place = self.waiting[0]
            if job.done.done():  # given up
                self.waiting.popleft()
                continue
            model = job.model or self.model
            if not turn.fits(job, model):
                break
            turn.model = job.model = model
            turn.parts.append(self.waiting.popleft())
            turn.costs.append(model.cost(job.rows[place]))
            spent += turn.costs[-1]
        return turn.answers()

    def _finish(self, turn: Turn, done: "asyncio.Future[list[Row]]") -> None:
        self.busy = False
        error = done.exception()
        if error is not None:
            self._failed(turn, error)
        else:
            by_job: dict[Job, dict[int, Row]] = {}
            for (job, place), answer in zip(turn.parts, done.result(), strict=True):
                by_job.setdefault(job, {})[place] = answer
            for job, answers in by_job.items():
                job.take(answers)
            self.told(len(turn.parts))
        self.wake()
        if not self.waiting and not self.busy:
            self.idle()

    def _failed(self, turn: Turn, error: BaseException) -> None:
        """Answer each request of a batch that failed by itself, so that one spoils no other."""
        if len(turn.jobs) == 1:
            turn.jobs[0].fail(error)
            return
        for job in turn.jobs:
            job.alone = True
        self.waiting.extendleft(reversed(turn.parts))


def beside(lane: Lane, model: Answerer) -> Lane:
    """A lane for a challenger, which works only while the first has nothing to do."""
    most, tokens = lane.most // 4, lane.tokens // 4
    made = Lane(model, lane.pool, most, tokens, may=lambda: not (lane.busy or lane.waiting))
    lane.idle = made.wake
    return made
