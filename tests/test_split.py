from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps import split as stage
from steps.core.entry import StepError
from steps.core.files import digest, read_json, read_rows
from steps.core.params import SplitParams, load
from steps.corpora.overlap import normalised
from steps.split import conflicts, split
from steps.tasks.classification import labels, reference

SIZES = SplitParams(train=30, validation=15, test=20, seed=13)
LABELS = ("fix", "feature", "removal")


def make(count: int = 120, groups: int = 24) -> list[dict]:
    return [
        {
            "id": f"{n:04}",
            "source": "Lib-1.0",
            "group": f"Lib-1.0/doc{n % groups}.rst",
            "text": f"Note number {n} on a change",
            "label": LABELS[n % 3],
        }
        for n in range(count)
    ]


def ids(parts: dict[str, list[dict]]) -> dict[str, list[str]]:
    return {part: [example["id"] for example in found] for part, found in parts.items()}


def seen_in(parts: dict[str, list[dict]], what) -> Counter:
    return Counter(value for found in parts.values() for value in {what(e) for e in found})


examples = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, 60), st.booleans()), min_size=60, max_size=160
).map(
    lambda drawn: [
        {
            "id": f"{n:04}",
            "source": "s",
            "group": f"g{group}",
            "text": f"Note {text}{'!' if loud else ''}",
            "label": "x",
        }
        for n, (group, text, loud) in enumerate(drawn)
    ]
)


@settings(max_examples=60, deadline=None)
@given(examples, st.integers(0, 5))
def test_no_group_and_no_text_is_in_two_parts(rows, seed):
    wanted = SplitParams(train=5, validation=4, test=6, seed=seed)
    try:
        parts = split("t", rows, wanted, labels)
    except StepError:
        return  # too few texts that are in one part only
    assert set(seen_in(parts, lambda e: e["group"]).values()) == {1}
    assert set(seen_in(parts, lambda e: normalised(e["text"])).values()) == {1}
    assert {part: len(found) for part, found in parts.items()} == {
        "train": 5,
        "validation": 4,
        "test": 6,
    }


def test_the_same_examples_in_another_order_give_the_same_parts():
    rows = make()
    assert ids(split("t", rows, SIZES, labels)) == ids(split("t", rows[::-1], SIZES, labels))


def test_another_seed_gives_other_parts():
    other = SIZES.model_copy(update={"seed": 14})
    assert ids(split("t", make(), SIZES, labels)) != ids(split("t", make(), other, labels))


@pytest.mark.parametrize("part", ["test", "validation"])
def test_editing_a_held_out_label_moves_no_example(part):
    before = split("t", make(), SIZES, labels)
    for held_out in before[part]:
        for label in LABELS:
            rows = [e | {"label": label} if e["id"] == held_out["id"] else e for e in make()]
            assert ids(split("t", rows, SIZES, labels)) == ids(before)


def test_no_more_groups_are_held_out_than_the_sizes_need():
    parts = split("t", make(), SIZES, labels)
    assert len({e["group"] for e in parts["test"]}) == 4
    assert len({e["group"] for e in parts["validation"]}) == 3


def test_one_large_group_does_not_make_a_part():
    rows = make(400, 80)
    for row in rows[:200]:
        row["group"] = "Lib-1.0/big.rst"
    for seed in range(20):
        wanted = SplitParams(train=10, validation=40, test=40, seed=seed)
        parts = split("t", rows, wanted, labels)
        for part in ("validation", "test"):
            assert max(Counter(e["group"] for e in parts[part]).values()) <= 5


def test_a_rare_label_is_in_training():
    rows = make(240)
    before = split("t", rows, SIZES, labels)
    held_out = {e["group"] for part in ("test", "validation") for e in before[part]}
    chosen = {e["id"] for e in before["train"]}
    rare = next(e for e in rows if e["group"] not in held_out and e["id"] not in chosen)
    rare["label"] = "doc"
    assert rare["id"] in ids(split("t", rows, SIZES, labels))["train"]


def test_label_shares_stay_near_the_whole():
    wanted = SplitParams(train=600, validation=300, test=300, seed=1)
    parts = split("t", make(1500, 100), wanted, labels)
    for found in parts.values():
        shares = Counter(e["label"] for e in found)
        assert all(0.26 < n / len(found) < 0.41 for n in shares.values())


def test_a_test_label_that_training_never_saw_is_named():
    test = split("t", make(), SIZES, labels)["test"]
    rows = [e | {"label": "fxi"} if e["id"] == test[0]["id"] else e for e in make()]
    with pytest.raises(StepError, match=rf"test has labels.*never saw: fxi.*{test[0]['id']}"):
        split("t", rows, SIZES, labels)


def test_too_few_examples_are_told_in_numbers():
    with pytest.raises(StepError, match="test 20, found train 14, validation 15, test"):
        split("t", make(50, 25), SIZES, labels)


def test_one_group_cannot_fill_three_parts():
    with pytest.raises(StepError, match="120 examples in 1 groups"):
        split("t", make(groups=1), SIZES, labels)


def test_the_same_text_with_other_labels_is_listed():
    rows = make(4)
    rows[1] |= {"text": rows[0]["text"].upper() + "!"}
    assert conflicts(rows, reference) == [
        {"text": rows[1]["text"], "labels": ["feature", "fix"]},
    ]


def test_the_stage_writes_three_parts_and_a_card(tmp_path, monkeypatch):
    params = load()
    task = params.tasks["changes"].model_copy(update={"split": SIZES})
    small = params.model_copy(update={"tasks": {"changes": task}})
    monkeypatch.setattr(stage.params, "load", lambda: small)
    source = tmp_path / "examples"
    source.mkdir()
    pq.write_table(pa.Table.from_pylist(make()), source / "examples.parquet")
    for out in ("a", "b"):
        stage.main("changes", source, tmp_path / out)
    card = read_json(tmp_path / "a/task.json")
    assert card["counts"] == {"train": 30, "validation": 15, "test": 20}
    assert card["labels"] == sorted(LABELS)
    assert len(read_rows(tmp_path / "a/train.parquet")) == 30
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
