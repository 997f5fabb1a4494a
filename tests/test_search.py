"""The search of knobs: on validation alone, pruned, seeded, and taken up after a kill."""

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.core.entry import StepError
from steps.core.files import digest, read_json
from steps.core.params import Params, Recipe, check
from steps.transfer.search import check_search, search
from steps.transfer.strategies import Diverged, Material
from tests.forked import Stage, run
from tests.tiny import classified, make_base
from tests.tiny_finetune import FULL, STAGE, project

RATES = {"low": 1e-5, "high": 1e-2, "log": True}
KNOBS = {"learning_rate": RATES, "epochs": {"low": 1, "high": 4}, "crf": {"among": [True, False]}}


def recipe(knobs: dict[str, Any] | None = None, trials: int = 8, **own: Any) -> Recipe:
    wanted = {"trials": trials, "seed": 1, "knobs": knobs or KNOBS}
    return Recipe(**FULL | own, search=wanted)


def material(room: Path) -> Material:
    examples = classified(6)
    labels = ["doc", "feature", "fix"]
    return Material("classification", labels, examples, 64, examples, lambda _: 1.0, room=room)


class Killed(BaseException):
    """What a kill is to a search: nothing after it is done."""


class Trainer:
    """Scores knobs by a rule instead of a training, and notes what it was asked.

    `killed` at (trial, epoch); it begins with the epoch `since`, as one with a checkpoint does.
    """

    def __init__(self, killed: tuple[int, int] | None = None, since: int = 0) -> None:
        self.asked: list[dict[str, Any]] = []
        self.rooms: list[Path] = []
        self.killed, self.since = killed, since

    def __call__(self, recipe: Recipe, material: Material) -> float:
        knobs = recipe.knobs
        self.asked.append({name: knobs[name] for name in KNOBS})
        self.rooms.append(material.room)
        assert recipe.search is None
        assert not material.made
        best = -abs(math.log10(knobs["learning_rate"]) + 3) - knobs["crf"]
        for epoch in range(self.since if len(self.asked) == 1 else 0, knobs["epochs"]):
            if self.killed == (len(self.asked) - 1, epoch):
                raise Killed
            material.told(epoch, best - 1 / (epoch + 1))
        return best - 1 / knobs["epochs"]


def test_the_best_trial_gives_the_knobs(tmp_path, capsys):
    train = Trainer()
    found, figures = search(recipe(trials=9), "mine", material(tmp_path), train)
    assert found.search is None
    assert figures["trials"] == len(train.asked) == 9
    assert figures["pruned"] > 0
    assert {name: found.knobs[name] for name in KNOBS} == figures["best"]
    assert figures["best"] in train.asked
    assert set(figures["best"]) == set(KNOBS)
    rates = [asked["learning_rate"] for asked in train.asked]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    assert {asked["epochs"] for asked in train.asked} <= {1, 2, 3, 4}
    best = figures["best"]
    expected = -abs(math.log10(best["learning_rate"]) + 3) - best["crf"] - 1 / best["epochs"]
    assert figures["score"] == expected
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("mine: trial 1 of 9: learning_rate 0.002, epochs 3, crf False: ")
    assert sum("pruned after epoch" in line for line in lines) == figures["pruned"]


def test_the_first_trial_has_the_recipes_own_knobs_so_that_nothing_worse_is_chosen(tmp_path):
    train = Trainer()
    _, figures = search(recipe(trials=1, crf=True), "mine", material(tmp_path), train)
    own = {"learning_rate": FULL["learning_rate"], "epochs": FULL["epochs"], "crf": True}
    assert train.asked == [own]
    assert figures["best"] == own


def test_own_knobs_outside_the_search_are_not_tried(tmp_path):
    train = Trainer()
    search(recipe(trials=2, learning_rate=0.5), "mine", material(tmp_path), train)
    assert all(asked["learning_rate"] <= 1e-2 for asked in train.asked)


def test_the_same_search_again_has_the_same_trials_and_another_seed_others(tmp_path):
    asked = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        train, wanted = Trainer(), recipe(trials=3)
        wanted = wanted.model_copy(
            update={"search": wanted.search.model_copy(update={"seed": seed})}
        )
        search(wanted, "mine", material(tmp_path / name), train)
        asked.append(train.asked)
    assert asked[0] == asked[1]
    assert asked[0][1:] != asked[2][1:]


def test_a_search_that_is_cut_short_goes_on_and_ends_as_it_would_have(tmp_path):
    """Cut twice in one trial: before its first epoch, and before its second."""
    wanted, whole = recipe(KNOBS | {"epochs": {"low": 2, "high": 4}}), Trainer()
    expected = search(wanted, "mine", material(tmp_path / "whole"), whole)
    for trial in (0, 6):
        own = material(tmp_path / f"cut-{trial}")
        first, second, last = Trainer((trial, 0)), Trainer((0, 1)), Trainer(since=1)
        for train in (first, second):
            with pytest.raises(Killed):
                search(wanted, "mine", own, train)
        assert search(wanted, "mine", own, last) == expected
        assert first.asked[:-1] + last.asked == whole.asked
        assert first.asked[-1] == second.asked[0] == last.asked[0]
        assert first.rooms[-1] == second.rooms[0] == last.rooms[0]


def test_knobs_that_were_tried_already_are_not_trained_again(tmp_path):
    train = Trainer()
    few = {"crf": {"among": [True, False]}, "epochs": {"low": 1, "high": 2}}
    _, figures = search(recipe(few, trials=8), "mine", material(tmp_path), train)
    assert len(train.asked) <= 5  # two by two, and the recipe's own
    assert figures["trials"] == 8


def test_a_score_that_is_no_number_is_the_worst(tmp_path):
    def train(recipe: Recipe, material: Material) -> float:
        return math.nan if recipe.knobs["crf"] else 0.25

    _, figures = search(recipe(trials=4), "mine", material(tmp_path), train)
    assert figures["score"] == 0.25
    with pytest.raises(StepError, match="no trial of its search has a score"):
        search(recipe(trials=2), "mine", material(tmp_path / "none"), lambda *_: math.nan)


def test_a_trial_that_diverges_is_the_worst(tmp_path):
    def train(recipe: Recipe, material: Material) -> float:
        if recipe.knobs["crf"]:
            raise Diverged("the loss of epoch 1 is nan")
        return 0.25

    _, figures = search(recipe(trials=4), "mine", material(tmp_path), train)
    assert figures["score"] == 0.25


def test_without_validation_there_is_no_search(tmp_path):
    none = replace(material(tmp_path), validation=[])
    with pytest.raises(StepError, match=r"recipes\.mine has a `search`, and there are no valid"):
        search(recipe(), "mine", none, Trainer())


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"learning_rat": RATES}, "'learning_rat' .did you mean 'learning_rate'"),
        ({"start": {"among": ["x"]}}, "no knob .*'start'; there is"),
        ({"epochs": {"low": 0, "high": 4}}, r"epochs is 0; input should be greater than or equal"),
        ({"epochs": {"low": 1.5, "high": 4}}, r"epochs is 1\.5; input should be a valid integer"),
        ({"crf": {"among": [True, "perhaps"]}}, "crf is 'perhaps'; input should be a valid bool"),
    ],
)
def test_a_knob_that_cannot_be_tried_is_one_line_before_anything_is_trained(tmp_path, knobs, said):
    train = Trainer()
    with pytest.raises(StepError, match=said):
        search(recipe(knobs), "mine", material(tmp_path), train)
    assert not train.asked
    with pytest.raises(StepError, match=said):
        check_search(recipe(knobs), "recipes.mine")


@pytest.mark.parametrize(
    "knob",
    [
        {"low": 3, "high": 3},
        {"low": 5, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 1},
        {"among": []},
        {"among": [1], "low": 0, "high": 1},
        {},
    ],
)
def test_an_empty_range_is_one_line_that_names_it(knob):
    params = yaml.safe_load(Path("params.yaml").read_text())
    wanted = {"trials": 3, "seed": 1, "knobs": {"epochs": knob}}
    params["recipes"]["full"]["search"] = wanted
    with pytest.raises(StepError, match=r"recipes\.full\.search\.knobs\.epochs") as found:
        check(Params, params, "params.yaml")
    assert "\n" not in str(found.value)


def test_a_stage_killed_in_its_search_ends_in_the_same_bytes(tmp_path):
    base = make_base(tmp_path / "base")
    wanted = {
        "trials": 3,
        "seed": 3,
        "knobs": {"learning_rate": RATES, "epochs": {"low": 1, "high": 2}},
    }
    whole = project(tmp_path / "whole", base, {"search": wanted}, seeds=(1,))
    said = run(whole, *STAGE)
    assert said.count("full: trial ") == 3
    folder = project(tmp_path / "killed", base, {"search": wanted}, seeds=(1,))
    for trial in (0, 1):
        process = Stage(folder, *STAGE)
        assert process.hit(signal.SIGKILL, reached(folder, f"trial-{trial}"))
        process.end()
    run(folder, *STAGE)
    assert digest(folder / "candidate") == digest(whole / "candidate")
    found, metrics = (read_json(at / "metrics.json") for at in (folder, whole))
    assert found["search"] == metrics["search"]
    chosen = read_json(folder / "candidate/candidate.json")["chosen"]
    assert chosen == found["search"]["best"]
    assert not list((folder / ".outplant/checkpoints").iterdir())


def reached(folder: Path, trial: str) -> Callable[[], bool]:
    """Whether a trial's training has written its first checkpoint."""
    rooms = folder / ".outplant/checkpoints"
    return lambda: any(rooms.glob(f"*/{trial}/seed-1/checkpoint.pt"))
