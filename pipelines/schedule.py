"""Which stages may start now: pure, told of what starts and ends."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pipelines.stages import Stage


@dataclass
class Schedule:
    """The stages of a run, in dependency order; `rooms`: how many at once in each place.

    `places` says where a stage runs; a place without a room takes any number.
    """

    todo: Sequence[Stage]
    places: Mapping[str, str]
    rooms: Mapping[str, int]
    running: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def take(self) -> list[Stage]:
        """Return the stages that start now; they count as running."""
        started = []
        for stage in self.todo:
            if self._ready(stage) and self._fits(self.places[stage.name]):
                self.running.add(stage.name)
                started.append(stage)
        return started

    def end(self, name: str, well: bool) -> None:
        """Take note of a stage that has ended."""
        self.running.remove(name)
        (self.done if well else self.failed).append(name)

    def left_out(self) -> list[str]:
        """Return what waits for a stage that failed, when nothing runs any more."""
        return [stage.name for stage in self.todo if not self._met(stage.name)]

    def _ready(self, stage: Stage) -> bool:
        before = [name for name in stage.after if name in self._ours]
        return not self._met(stage.name) and all(name in self.done for name in before)

    def _met(self, name: str) -> bool:
        return name in self.running or name in self.done or name in self.failed

    @cached_property
    def _ours(self) -> set[str]:
        return {stage.name for stage in self.todo}

    def _fits(self, place: str) -> bool:
        if place not in self.rooms:
            return True
        return Counter(self.places[name] for name in self.running)[place] < self.rooms[place]
