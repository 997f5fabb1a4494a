"""The stage `learn`: what its points are trained on, and that a kill loses none of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from steps import evaluate, finetune
from steps import learn as stage
from steps.core.entry import StepError
from steps.core.files import digest, read_json, write_json, write_text
from steps.core.params import load
from steps.prepare import prepare
from steps.tasks import TASKS, task_type
from steps.transfer.strategies import baseline
from tests.tiny import EXAMPLES

ROOT = Path(__file__).parent.parent
METRICS = {"classification": "macro_f1", "tokens": "span_f1"}
CURVE = {"recipe": "baseline", "labels": [8, 4, 16, 500], "target": None}
SPLITS, START, SAID = Path("splits"), Path("start"), Path("predictions")
OUTS = ("learning/learning.json", "metrics.json", "plot.json")
Project = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Make a task with the predictions of its baseline in an empty folder, and stand in it."""
    monkeypatch.chdir(tmp_path)

    def make(kind: str = "classification", **changed: Any) -> None:
        params(kind, CURVE | changed)
        split(kind)
        prepare("baseline", load().recipes["baseline"], Path("none"), START)
        folders = (SPLITS, START, Path("candidate"))
        finetune.main("toy", "baseline", *folders, Path("finetune.json"))
        evaluate.main(*folders, SAID, Path("evaluate.json"), Path("curve.json"))

    yield make
    load.cache_clear()


def params(kind: str, curve: dict[str, Any]) -> None:
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    task = found["tasks"]["changes"] | {"type": kind, "metric": METRICS[kind], "learning": curve}
    found |= {"tasks": {"toy": task}, "seeds": [1, 2]}
    found["recipes"] = {"baseline": found["recipes"]["baseline"]}
    found["judge"]["resamples"] = 200
    found["gate"]["minimum"] = {}
    write_text(Path("params.yaml"), yaml.safe_dump(found))
    load.cache_clear()


def split(kind: str) -> None:
    rows = EXAMPLES[kind](100)
    SPLITS.mkdir()
    for part, own in (("train", rows[:30]), ("validation", rows[30:45]), ("test", rows[45:])):
        pq.write_table(pa.Table.from_pylist(own), SPLITS / f"{part}.parquet")
    write_json(SPLITS / "task.json", {"type": kind, "labels": task_type(kind).labels(rows)})


def learn() -> dict[str, Any]:
    """Run the stage in this process; return learning.json."""
    stage.main(SPLITS, START, SAID, Path("learning"), *map(Path, OUTS[1:]))
    return read_json(Path(OUTS[0]))


@pytest.mark.parametrize("kind", METRICS)
def test_the_curve_ends_at_the_candidate_and_is_the_same_twice(
    project: Project, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    project(kind)
    found = learn()
    assert [point["labels"] for point in found["points"]] == [4, 8, 16, 30]
    last = found["points"][-1]
    assert last["mean"] == read_json(Path("evaluate.json"))["test"]["mean"]
    assert all(set(point["seeds"]) == {"1", "2"} for point in found["points"])
    assert (found["metric"], found["recipe"]) == (METRICS[kind], "baseline")
    assert "training has 30 labels; left out of its learning curve: 500" in capsys.readouterr().out
    rows = [{"labels": point["labels"], "score": point["mean"]} for point in found["points"]]
    assert read_json(Path("plot.json")) == rows
    assert read_json(Path("metrics.json"))["next_100"] == found["next"]
    assert not list(Path(".outplant/checkpoints").iterdir())
    first = [digest(Path(out)) for out in OUTS]
    learn()
    assert [digest(Path(out)) for out in OUTS] == first


def test_points_that_a_killed_run_has_finished_are_not_trained_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    fit, trained = baseline.fit, []

    def killed(material: Any, *rest: Any) -> Any:
        trained.append(len(material.examples))
        if len(trained) == 4:
            raise KeyboardInterrupt
        return fit(material, *rest)

    monkeypatch.setattr(baseline, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        learn()
    assert not Path("learning").exists()
    again = learn()
    assert trained == [4, 4, 8, 8, 8, 16, 16]
    assert learn() == again


def test_no_numbers_of_labels_ask_for_no_training(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(labels=[])
    monkeypatch.setattr(baseline, "fit", None)
    found = learn()
    assert [point["labels"] for point in found["points"]] == [30]
    assert "Not shown: a power law needs 3 points" in found["sentence"]


def test_a_recipe_that_is_left_out_of_the_task_is_one_line(project: Project) -> None:
    project()
    about = read_json(SAID / "candidate.json")
    write_json(SAID / "candidate.json", about | {"left_out": "the recipe is for entities"})
    with pytest.raises(StepError, match=r"left out of it.*name a recipe that is for this task"):
        learn()


@pytest.mark.parametrize("kind", TASKS)
def test_fewer_labels_are_part_of_more_and_have_every_class_that_they_can(kind: str) -> None:
    module, examples = task_type(kind), EXAMPLES[kind](60)
    orders = [stage.order(examples, module, seed) for seed in (1, 2)]
    ids = [[example["id"] for example in one] for one in orders]
    assert ids[0] != ids[1]
    assert sorted(ids[0]) == sorted(ids[1]) == sorted(example["id"] for example in examples)
    assert stage.order(examples[::-1], module, 1) == orders[0]
    every = [stage.labels_of(example, module) for example in orders[0]]
    classes = set().union(*every)
    assert set().union(*every[: len(classes)]) == classes
    assert bool(classes) == (module.OUTPUT in ("classes", "labels"))


def test_the_rare_class_is_in_the_fewest_labels() -> None:
    examples = [{"id": str(n), "label": "rare" if n == 57 else "common"} for n in range(100)]
    kind = task_type("classification")
    for seed in range(20):
        first = stage.order(examples, kind, seed)[:2]
        assert {example["label"] for example in first} == {"rare", "common"}
    drawn = [stage.order(examples, kind, seed)[0]["id"] for seed in range(20)]
    assert len(np.unique(drawn)) > 10
