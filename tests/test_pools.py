"""infra/fleet.yaml, and what a run may take of its pools."""

from pathlib import Path

import pytest
import yaml

from pipelines import pools
from pipelines.stages import Ran, Stage
from steps.core.entry import StepError

ROOT = Path(__file__).parent.parent
POOL = {"at_once": None, "launch": "", "budget_minutes": None}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "infra").mkdir()
    return tmp_path


def write(cpu: object = None, gpu: object = None) -> None:
    said = {"pools": {"cpu": cpu or POOL, "gpu": gpu or POOL}}
    pools.FLEET.write_text(yaml.safe_dump(said))


def stage(name: str, pool: str = "gpu") -> Stage:
    return Stage(name, (), pool, False)


def took(**minutes: float) -> None:
    pools.TIMES.parent.mkdir()
    rows = [f'{{"stage": "{name}", "seconds": {all_ * 60}}}\n' for name, all_ in minutes.items()]
    pools.TIMES.write_text("".join(rows))


def budget(minutes: float | None) -> pools.Budget:
    write(gpu=POOL | {"budget_minutes": minutes})
    return pools.Budget(pools.load())


def test_the_file_of_this_repository_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert set(pools.load()) == {"cpu", "gpu"}
    assert pools.load()["gpu"].room() == 1
    assert pools.load()["cpu"].room() >= 1
    assert pools.launch("gpu") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no infra/fleet.yaml here; expected the pools cpu and gpu in it, take it from git"),
        ("pools: {cpu: [", "infra/fleet.yaml is not YAML: "),
        ("", "infra/fleet.yaml"),
        ("- cpu", "infra/fleet.yaml"),
        ("pools: {cpu: {at_once: null, launch: ''}}", "budget_minutes"),
        ("pools: {cpu: {at_once: 0, launch: '', budget_minutes: null}}", "at_once"),
        ("pools: {cpu: {at_once: 1, launch: '', budget_minutes: -1}}", "budget_minutes"),
        ("pools: {cpu: {at_once: 1, launch: 3, budget_minutes: 1}}", "launch"),
        ("pools: {cpu: {at_once: 1, launch: '', budget_minutes: 1, gpus: 2}}", "gpus"),
    ],
)
def test_each_mistake_in_the_file_is_one_line_that_names_it(text: str | None, said: str) -> None:
    if text is not None:
        pools.FLEET.write_text(text)
    with pytest.raises(StepError) as found:
        pools.load()
    assert said in str(found.value)
    assert "infra/fleet.yaml" in str(found.value)
    assert "\n" not in str(found.value)


def test_a_launcher_takes_its_names_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "den")
    write(gpu=POOL | {"launch": "torchrun --rdzv-endpoint $HOST:29400"})
    assert pools.launch("gpu") == {"OUTPLANT_LAUNCH": "torchrun --rdzv-endpoint den:29400"}
    assert pools.launch("cpu") == {}


def test_a_pool_that_is_not_in_the_file_is_one_line() -> None:
    write()
    with pytest.raises(StepError, match=r"no pool \(in infra/fleet.yaml\) 'tpu'.*cpu, gpu"):
        pools.launch("tpu")
    with pytest.raises(StepError, match=r"no pool .* 'tpu'"):
        budget(None).take(stage("adapt", "tpu"))


def test_a_stage_is_expected_to_take_what_its_last_runs_took() -> None:
    assert pools.times() == {}
    pools.TIMES.parent.mkdir()
    rows = "".join(f'{{"stage": "a", "seconds": {n}}}\n' for n in (900, 1, 2, 3, 4, 5))
    pools.TIMES.write_text(f'{rows}{{"stage": "b", "seconds": 7}}\n')
    assert pools.times() == {"a": 3, "b": 7}


def test_a_line_that_a_kill_cut_short_is_passed_over() -> None:
    row = '{"stage": "b", "seconds": 7}'
    took(a=1)
    before = pools.TIMES.read_text()
    for length in range(len(row)):
        pools.TIMES.write_text(before + row[:length])
        assert pools.times() == {"a": 60}
        for name in "cc":  # the first may stand behind what is left of b
            budget(None).spend(stage(name), Ran(name, "ran", 3.0))
        assert pools.times() == {"a": 60, "c": 3}


def test_a_stage_that_never_ran_starts_whatever_the_budget() -> None:
    left = budget(0.5)
    left.take(stage("new"))
    left.take(stage("newer"))


def test_a_stage_that_does_not_fit_is_not_started_and_says_how_to_raise_it() -> None:
    took(adapt=4, finetune=7)
    left = budget(10)
    left.take(stage("adapt"))
    with pytest.raises(StepError) as found:
        left.take(stage("finetune"))
    assert str(found.value) == (
        "stage finetune is not started: expected to take 7.0 minutes of gpu, as it did before, "
        "found 6.0 of 10 left; raise pools.gpu.budget_minutes in infra/fleet.yaml"
    )
    left.take(stage("finetune", "cpu"))  # that pool has no limit


def test_what_a_stage_took_counts_in_place_of_what_was_expected() -> None:
    took(adapt=4, finetune=7)
    left = budget(10)
    left.take(stage("adapt"))
    left.spend(stage("adapt"), Ran("adapt", "restored", 60.0))
    left.take(stage("finetune"))
    left.spend(stage("finetune"), Ran("finetune", "ran", 600.0))
    with pytest.raises(StepError, match=r"found 0.0 of 10 left"):
        left.take(stage("adapt"))


def test_only_what_ran_is_kept_for_the_next_run() -> None:
    left = budget(None)
    for became in ("ran", "restored", "unchanged"):
        left.take(stage(became))
        left.spend(stage(became), Ran(became, became, 90.0))
    assert pools.times() == {"ran": 90}
