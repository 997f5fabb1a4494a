from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from steps.core.entry import StepError
from steps.core.files import digest, read_rows, write_json, write_rows
from steps.core.params import check, load
from steps.corpora.schemas import SCHEMAS
from steps.prepare import supplied
from steps.tasks import task_type
from steps.transfer import networks
from steps.transfer.networks import Shape
from steps.transfer.networks.several import Several, lay_out, shares
from steps.transfer.networks.training import Plan
from steps.transfer.networks.tuning import begin
from steps.transfer.strategies import Supplies, full, multitask
from tests.tiny import EXAMPLES, make_base
from tests.trained import answers, material

KNOBS = {"start": "x", "learning_rate": 5e-3, "batch_tokens": 64, "weight_decay": 0.0}
PLAN = Plan(3, 64, 0, 7, 5.0, rate=lambda step, steps: 1.0)


def settings(*others: str, **knobs) -> multitask.Settings:
    found = KNOBS | {"strategy": "multitask", "epochs": 2, "with": list(others)} | knobs
    return multitask.Settings.model_validate(found)


def write_split(splits: Path, name: str, kind: str, count: int) -> None:
    rows = [{"split": "", "language": "", **row} for row in EXAMPLES[kind](count)]
    for part, some in (("train", rows[:-8]), ("validation", rows[-8:-4]), ("test", rows[-4:])):
        write_rows(splits / name / f"{part}.parquet", some, SCHEMAS[kind])
    write_json(splits / name / "task.json", {"type": kind, "labels": task_type(kind).labels(rows)})


def nothing(texts: list[str]) -> list[bool]:
    return [False] * len(texts)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A start with two tasks beside it."""
    root = tmp_path_factory.mktemp("multitask")
    for name, kind in (("notes", "classification"), ("names", "tokens")):
        write_split(root / "splits", name, kind, 20)
    out = make_base(root / "start")
    multitask.gather(settings("notes", "names"), Supplies(root / "splits", root, nothing), out)
    return out


def test_a_task_is_seen_as_often_as_the_temperature_says():
    assert shares([100, 400, 25], 1) == [100, 400, 25]
    assert shares([100, 400, 25], 2) == [100, 200, 50]
    assert shares([100, 400, 25], 1e9) == [100, 100, 100]


def test_a_batch_is_of_one_task_and_an_epoch_has_all_own_rows_once():
    tasks = [0] * 30 + [1] * 120 + [2] * 4
    sizes = np.random.default_rng(1).integers(3, 20, len(tasks)).tolist()
    laid = lay_out(tasks, 2.0, sizes, PLAN)
    assert len(laid) == 3
    for epoch in laid:
        assert all(len({tasks[row] for row in batch}) == 1 for batch in epoch)
        assert all(max(sizes[row] for row in batch) * len(batch) <= 64 for batch in epoch)
        seen = Counter(row for batch in epoch for row in batch.tolist())
        assert all(seen[row] == 1 for row in range(30))
        assert Counter(tasks[row] for row in seen.elements()) == {0: 30, 1: 60, 2: 11}
        assert max(seen.values()) == 3  # of four rows eleven times
        kinds = [tasks[batch[0]] for batch in epoch]
        assert kinds != sorted(kinds)
    again = lay_out(tasks, 2.0, sizes, PLAN)
    assert [b.tolist() for e in again for b in e] == [b.tolist() for e in laid for b in e]
    assert [b.tolist() for b in laid[0]] != [b.tolist() for b in laid[1]]


@pytest.mark.parametrize("kind", ["classification", "tokens", "regression", "multilabel"])
def test_the_own_task_alone_is_saved_and_answered(start, tmp_path, kind):
    given = material(kind, tmp_path, name="own")
    found = multitask.fit(given, settings("notes", "names"), start, 1, tmp_path / "out")
    assert found["with"] == {"notes": 12, "names": 12}
    assert len(answers(multitask, given, start, tmp_path / "out")) == 8
    made = networks.network(given.type.OUTPUT).load(start, tmp_path / "out")
    assert made.linear.out_features == len(given.classes)
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"model.safetensors", "head.safetensors", "network.json"}


def test_the_other_tasks_move_the_encoder(start, tmp_path):
    """It is as if the task were learned by itself, but for the others' steps."""
    alone = full.Settings(strategy="full", epochs=2, **KNOBS)
    given = material("classification", tmp_path / "a", score=None, name="own")
    full.fit(given, alone, start, 1, tmp_path / "alone")
    given = material("classification", tmp_path / "b", score=None, name="own")
    multitask.fit(given, settings("names"), start, 1, tmp_path / "both")
    weights = [
        networks.network("classes").load(start, tmp_path / name).encoder.groups()[1]
        for name in ("alone", "both")
    ]
    assert not all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_weights_are_kept_once_and_every_head_learns(start, tmp_path):
    given = material("classification", tmp_path, name="own")
    others = multitask.read_others(given, settings("notes", "names"), start)
    made = begin(given, full.Settings(strategy="full", epochs=1, **KNOBS), Shape(), start, 1)
    heads = [(multitask.with_head(made, one, settings("x")), one.examples) for one in others]
    several = Several(made, heads)
    names = list(several.state_dict())
    assert len([n for n in names if "word_embeddings" in n]) == 1
    assert len([n for n in names if n.endswith("linear.weight")]) == 3
    moving = {id(weight) for group in several.groups() for weight in group}
    assert moving == {id(weight) for weight in several.parameters()}


def test_training_again_and_a_second_seed(start, tmp_path):
    given = material("tokens", tmp_path / "a", name="own")
    for seed, name in ((1, "one"), (2, "two")):
        multitask.fit(given, settings("notes"), start, seed, tmp_path / name)
    other = material("tokens", tmp_path / "b", name="own")
    multitask.fit(other, settings("notes"), start, 2, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(tmp_path / "two") != digest(tmp_path / "one")


def test_the_own_task_is_not_learned_twice(start, tmp_path):
    given = material("classification", tmp_path, name="notes")
    others = multitask.read_others(given, settings("notes", "names"), start)
    assert [one.name for one in others] == ["names"]
    with pytest.raises(StepError, match="nothing is left to learn beside task notes"):
        multitask.read_others(given, settings("notes"), start)


def test_a_training_text_that_another_task_holds_out_is_not_gathered(tmp_path):
    """As a whole, or as most of it."""
    splits, out = tmp_path / "splits", tmp_path / "out"
    write_split(splits, "notes", "classification", 20)
    write_split(splits, "names", "tokens", 20)
    train = read_rows(splits / "names" / "train.parquet")
    held = read_rows(splits / "notes" / "test.parquet")
    held[0]["text"] = train[0]["text"].upper()
    held[1]["text"] = f"Before. {train[1]['text']}"
    write_rows(splits / "notes" / "test.parquet", held, SCHEMAS["classification"])
    supplies = supplied(splits, tmp_path, load(Path("params.yaml")))
    multitask.gather(settings("names"), supplies, out)
    kept = read_rows(out / "tasks" / "names" / "train.parquet")
    assert [row["id"] for row in kept] == [row["id"] for row in train if row["id"] > "0001"]
    schema = pq.read_schema(out / "tasks" / "names" / "train.parquet")
    assert schema.names == SCHEMAS["tokens"].names


def test_a_task_that_is_not_there_or_writes_texts_is_one_line(tmp_path):
    supplies = Supplies(tmp_path / "splits", tmp_path, nothing)
    write_split(supplies.splits, "notes", "classification", 12)
    write_split(supplies.splits, "words", "translation", 12)
    with pytest.raises(StepError, match=r"no task 'nodes' in .*; `with` may name: notes, words"):
        multitask.gather(settings("nodes"), supplies, tmp_path)
    with pytest.raises(StepError, match="task words wants text; `with` takes tasks of classes"):
        multitask.gather(settings("words"), supplies, tmp_path)


def test_a_misspelt_with_is_one_line_that_names_it():
    recipe = KNOBS | {"strategy": "multitask", "epochs": 1, "wiht": ["notes"]}
    with pytest.raises(StepError, match=r"wiht is not a key \(did you mean 'with'"):
        check(multitask.Settings, recipe, "recipes.mine")
