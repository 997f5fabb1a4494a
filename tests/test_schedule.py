"""Which stages start when: held for any graph, any places and any failures."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.schedule import Schedule
from pipelines.stages import Stage

PLACES = ("cpu", "gpu", "away")


@st.composite
def graphs(draw: Any) -> list[Stage]:
    """Stages in dependency order; some read what is no stage of this run."""
    size = draw(st.integers(0, 12))
    stages = []
    for number in range(size):
        before = [*(str(n) for n in range(number)), "done before"]
        after = draw(st.sets(st.sampled_from(before), max_size=3))
        place = draw(st.sampled_from(PLACES))
        stages.append(Stage(str(number), tuple(sorted(after)), place, False))
    return stages


def after(stages: list[Stage], names: set[str]) -> set[str]:
    """Return what comes after these, near and far."""
    found: set[str] = set()
    for stage in stages:
        if (names | found).intersection(stage.after):
            found.add(stage.name)
    return found


def begin(stages: list[Stage], **rooms: int) -> Schedule:
    return Schedule(stages, {stage.name: stage.pool for stage in stages}, rooms)


def go(
    stages: list[Stage], schedule: Schedule, bad: set[str], draw: st.DataObject
) -> tuple[list[str], list[str]]:
    """Run it, ends in any order; give the names as they were started and as they ended."""
    started, ended = [], []
    by_name = {stage.name: stage for stage in stages}
    while True:
        for stage in schedule.take():
            assert not {*stage.after} & by_name.keys() - {*schedule.done}
            started.append(stage.name)
        full = Counter(by_name[name].pool for name in schedule.running)
        assert all(full[place] <= room for place, room in schedule.rooms.items())
        assert schedule.take() == []  # nothing is free that was not taken
        if not schedule.running:
            return started, ended
        name = draw.draw(st.sampled_from(sorted(schedule.running)))
        schedule.end(name, name not in bad)
        ended.append(name)


@given(graphs(), st.integers(1, 3), st.integers(1, 2), st.data())
def test_each_stage_runs_once_after_its_upstream_and_none_too_many_at_once(
    stages: list[Stage], cpu: int, gpu: int, data: st.DataObject
) -> None:
    schedule = begin(stages, cpu=cpu, gpu=gpu)
    started, ended = go(stages, schedule, set(), data)
    assert sorted(started) == sorted(stage.name for stage in stages)
    assert schedule.done == ended
    assert schedule.failed == []


@given(graphs(), st.data())
def test_a_failure_leaves_out_what_comes_after_it_and_nothing_else(
    stages: list[Stage], data: st.DataObject
) -> None:
    names = [stage.name for stage in stages]
    bad = data.draw(st.sets(st.sampled_from(names), max_size=3)) if names else set()
    schedule = begin(stages, cpu=1, gpu=1)
    started, _ = go(stages, schedule, bad, data)
    assert set(started) == set(names) - after(stages, bad)
    assert set(schedule.failed) == bad & set(started)
    assert schedule.left_out() == [name for name in names if name not in started]


@given(graphs())
def test_all_that_waits_for_nothing_starts_at_once(stages: list[Stage]) -> None:
    names = {stage.name for stage in stages}
    free = [stage for stage in stages if not names.intersection(stage.after)]
    assert begin(stages).take() == free


def test_a_full_place_holds_up_no_other() -> None:
    cpu = [Stage(name, (), "cpu", False) for name in "ab"]
    gpu = [Stage(name, (), "gpu", False) for name in "cd"]
    schedule = begin([*cpu, *gpu], cpu=1, gpu=1)
    assert [stage.name for stage in schedule.take()] == ["a", "c"]
    schedule.end("c", True)
    assert [stage.name for stage in schedule.take()] == ["d"]
