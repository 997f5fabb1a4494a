from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps import split as stage
from steps.core.entry import StepError
from steps.core.files import Shards, digest, read_json, read_rows
from steps.core.params import SplitParams, load
from steps.corpora.matching import LEVELS, Matcher, Rules
from steps.corpora.overlap import normalised
from steps.corpora.schemas import SCHEMAS
from steps.split import VIEWS, Taken, conflicts, contamination, join_queries, join_twins
from steps.tasks.classification import labels, reference
from tests.tiny import EXAMPLES

RULES = Rules(ngram=8, containment=0.5, near=0.8)
SIZES = SplitParams(given=False, train=30, validation=15, test=20, seed=13)
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


def split(task, rows, wanted, labels):
    return stage.split(task, rows, wanted, labels, Taken(RULES))


def ids(parts: dict[str, list[dict]]) -> dict[str, list[str]]:
    return {part: [example["id"] for example in found] for part, found in parts.items()}


def seen_in(parts: dict[str, list[dict]], what) -> Counter:
    return Counter(value for found in parts.values() for value in {what(e) for e in found})


PHRASES = [  # texts of one phrase and other numbers are near, or contain each other, or neither
    "Note",
    "A crash is fixed",
    "The parser no longer reads the whole of a file before it says that the first line is wrong",
    "one two three four five six seven",
    "See <<the>> list",
    "一二三四五",
    "???",
]
examples = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, 60), st.booleans()), min_size=60, max_size=160
).map(
    lambda drawn: [
        {
            "id": f"{n:04}",
            "source": "s",
            "group": f"g{group}",
            "text": f"{PHRASES[text % 7]} {text}{'!' if loud else ''}",
            "label": "x",
        }
        for n, (group, text, loud) in enumerate(drawn)
    ]
)


@settings(max_examples=60, deadline=None)
@given(examples, st.integers(0, 5))
def test_no_group_and_no_text_is_in_two_parts(rows, seed):
    wanted = SplitParams(given=False, train=5, validation=4, test=6, seed=seed)
    try:
        parts = split("t", rows, wanted, labels)
    except StepError:
        return  # too few texts that are in one part only
    assert set(seen_in(parts, lambda e: e["group"]).values()) == {1}
    assert set(seen_in(parts, lambda e: normalised(e["text"])).values()) == {1}
    held_out = [e["text"] for part in ("test", "validation") for e in parts[part]]
    assert not any(Matcher(held_out, RULES).first([e["text"] for e in parts["train"]]))
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
        wanted = SplitParams(given=False, train=10, validation=40, test=40, seed=seed)
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
    wanted = SplitParams(given=False, train=600, validation=300, test=300, seed=1)
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


def test_another_question_pair_or_language_makes_no_conflict():
    asked = [{"question": "a"}, {"question": "b"}, {"pair": "a"}, {"pair": "b"}, {"language": "de"}]
    rows = [row | {"text": "The same"} | more for row, more in zip(make(5), asked, strict=True)]
    assert conflicts(rows, reference) == []
    again = [row | {"id": f"again{row['id']}", "label": "other"} for row in rows]
    assert len(conflicts(rows + again, reference)) == 5


def test_the_stage_writes_three_parts_and_a_card(tmp_path, monkeypatch):
    params = load()
    task = params.tasks["changes"].model_copy(update={"split": SIZES})
    small = params.model_copy(update={"tasks": {"changes": task}})
    monkeypatch.setattr(stage.params, "load", lambda: small)
    source = tmp_path / "examples"
    source.mkdir()
    (source / "examples").mkdir()
    pq.write_table(pa.Table.from_pylist(make()), source / "examples/part-00000.parquet")
    for out in ("a", "b"):
        stage.main("changes", source, tmp_path / out)
    card = read_json(tmp_path / "a/task.json")
    assert card["counts"] == {"train": 30, "validation": 15, "test": 20}
    assert card["labels"] == sorted(LABELS)
    assert len(read_rows(tmp_path / "a/train.parquet")) == 30
    assert not any(row["contaminated"] for row in read_rows(tmp_path / "a/test.parquet"))
    assert card["overlap"]["test"] == dict.fromkeys(LEVELS, 0)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_stage_splits_examples_of_every_type(kind, tmp_path, monkeypatch):
    params = load()
    wanted = SplitParams(given=False, train=12, validation=4, test=8, seed=1)
    task = params.tasks["changes"].model_copy(update={"split": wanted, "type": kind})
    small = params.model_copy(update={"tasks": {"t": task}})
    monkeypatch.setattr(stage.params, "load", lambda: small)
    whole = SCHEMAS[kind].names
    rows = [dict.fromkeys(whole, "") | row for row in EXAMPLES[kind](160)]
    with Shards(tmp_path / "in/examples", SCHEMAS[kind]) as shards:
        shards.write_rows(rows)
    stage.main("t", tmp_path / "in", tmp_path / "out")
    for part, count in (("train", 12), ("validation", 4), ("test", 8)):
        found = read_rows(tmp_path / f"out/{part}.parquet")
        assert len(found) == count
        assert list(found[0])[: len(whole)] == whole


GIVEN = SplitParams(given=True, train=90, validation=15, test=20, seed=13)


def given_rows(**parts: int) -> list[dict]:
    names = [part for part, count in parts.items() for _ in range(count)]
    rows = make(len(names))
    return [row | {"split": name} for row, name in zip(rows, names, strict=True)]


def test_a_given_split_is_kept_and_cut_to_size():
    rows = given_rows(train=70, validation=10, test=40)
    parts = split("t", rows, GIVEN, labels)
    assert {part: len(found) for part, found in parts.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }
    assert all(e["split"] == part for part, found in parts.items() for e in found)
    more = split("t", rows, GIVEN.model_copy(update={"test": 30}), labels)
    assert set(ids(parts)["test"]) < set(ids(more)["test"])


def test_a_validation_part_that_is_not_given_is_drawn_from_training_by_group():
    rows = given_rows(train=100, test=20)
    parts = split("t", rows, GIVEN, labels)
    assert len(parts["validation"]) == 15
    drawn = {e["group"] for e in parts["validation"]}
    assert not drawn & {e["group"] for e in parts["train"]}
    assert ids(parts)["test"] == [row["id"] for row in rows if row["split"] == "test"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (given_rows(train=60), "nothing is there for test"),
        (given_rows(test=60), "nothing is there for train"),
        (given_rows(train=60, held_out=10), "split 'held_out'; expected one of: train"),
        (
            [row | {"group": "one"} for row in given_rows(train=60, test=9)],
            "all training examples are one group",
        ),
    ],
)
def test_a_given_split_that_lacks_a_part_is_one_line(rows, said):
    with pytest.raises(StepError, match=said) as error:
        split("t", rows, GIVEN, labels)
    assert "\n" not in str(error.value)


def test_overlap_of_a_given_split_is_marked_and_counted_and_not_mended():
    rows = given_rows(train=60, validation=6, test=12)
    long = "The router now sends each request to the first worker that answers within a second"
    rows[0]["text"] = f"{long}."
    for row, text in zip(
        rows[-4:], (f"{long}. ", long.upper() + ".", f"So {long}!", "Note"), strict=True
    ):
        row["text"] = text
    parts = split("t", rows, GIVEN, labels)
    counts = contamination(parts, RULES)
    assert len(parts["train"]) == 60
    assert counts["test"] == {"exact": 1, "normalised": 2, "contained": 3, "near": 3}
    assert counts["validation"] == dict.fromkeys(LEVELS, 0)
    found = {e["id"] for e in parts["test"] if e["contaminated"]}
    assert found == {row["id"] for row in rows[-4:-1]}


def twins() -> list[dict]:
    """Each text stands in two groups, another of its words marked."""
    return [
        {
            "id": f"{n:04}",
            "source": "s",
            "group": f"g{(n + side * 7) % 90}/{side}",
            "text": f"<<part{n}>> of item{n}" if side else f"part{n} of <<item{n}>>",
            "label": "x",
        }
        for n in range(90)
        for side in (0, 1)
    ]


def test_one_text_with_other_words_marked_is_one_group():
    rows = [row | {"id": f"{at:04}"} for at, row in enumerate(twins())]
    joined = join_twins(rows)
    assert [row["id"] for row in joined] == [row["id"] for row in rows]
    for one, other in zip(joined[::2], joined[1::2], strict=True):
        assert one["group"] == other["group"]
    for seed in range(10):
        wanted = SplitParams(given=False, train=60, validation=20, test=20, seed=seed)
        parts = split("t", rows, wanted, labels)
        seen = seen_in(parts, lambda e: e["text"].replace("<<", "").replace(">>", ""))
        assert set(seen.values()) == {1}
        assert set(seen_in(parts, lambda e: e["group"]).values()) == {1}


def test_one_text_with_other_spans_or_another_question_is_one_group():
    rows = [row | {"text": "The same text"} for row in make(4, 4)]
    rows[1]["spans"] = [{"start": 0, "end": 3, "label": "x"}]
    assert len({row["group"] for row in join_twins(rows)}) == 1
    same = [row | {"spans": None} for row in rows]
    assert len({row["group"] for row in join_twins(same)}) == 4
    asked = [row | {"question": str(at)} for at, row in enumerate(same)]
    assert len({row["group"] for row in join_twins(asked)}) == 1


def premises() -> list[dict]:
    """Each premise with three hypotheses, in three groups, and each of these pairs turned round."""
    rows = []
    for n in range(240):
        premise = f"Worker {n // 3} of the pool answers all requests that the router sends to it"
        pair = f"Hypothesis {n} is said of it"
        both = [{"text": premise, "pair": pair}, {"text": pair, "pair": premise}]
        for turned, texts in enumerate(both):
            group = {"source": "s", "group": f"g{n * 7 % 240}/{turned}", "label": "x"}
            rows.append({"id": f"{n:04}/{turned}", **group, **texts})
    return rows


def test_neither_a_premise_nor_a_pair_turned_round_is_in_two_parts():
    wanted = SplitParams(given=False, train=60, validation=20, test=20, seed=1)
    strict = Rules(ngram=8, containment=0.5, near=1.0)
    parts = stage.split("t", premises(), wanted, labels, Taken(strict, VIEWS["pairs"]))
    for found in (lambda e: e["text"], lambda e: " ".join(sorted((e["text"], e["pair"])))):
        assert set(seen_in(parts, found).values()) == {1}
    premise = seen_in(parts, lambda e: max(e["text"], e["pair"]))
    assert set(premise.values()) == {1}


def queries(count: int = 160) -> list[dict]:
    """Each passage is what two queries of two groups should find."""
    return [
        {
            "id": f"{n:04}",
            "source": "s",
            "group": f"g{n * 7 % 90}",
            "text": f"Query number {n}",
            "target": f"Passage {n // 2}, once more: "
            + " ".join(f"w{n // 2}x{k}" for k in range(9)),
        }
        for n in range(count)
    ]


def test_no_passage_is_to_be_found_in_two_parts():
    wanted = SplitParams(given=False, train=60, validation=20, test=20, seed=1)

    def nothing(examples):
        return []

    for rows in (queries(), join_queries(queries())):
        parts = stage.split("t", rows, wanted, nothing, Taken(RULES, VIEWS["retrieval"]))
        assert set(seen_in(parts, lambda e: e["target"]).values()) == {1}
    joined = join_queries(queries())
    assert all(a["group"] == b["group"] for a, b in zip(joined[::2], joined[1::2], strict=True))
    assert len({row["group"] for row in joined}) > 40


def test_a_pair_or_passage_that_training_has_marks_a_held_out_example():
    pairs = [row | {"label": "x"} for row in premises()[:2]]
    parts = {"train": pairs[:1], "validation": [], "test": pairs[1:]}
    assert contamination(parts, RULES)["test"]["near"] == 0
    assert contamination(parts, RULES, VIEWS["pairs"])["test"]["exact"] == 1
    assert parts["test"][0]["contaminated"]
    asked = queries(2)
    parts = {"train": asked[:1], "validation": [], "test": asked[1:]}
    found = contamination(parts, Rules(8, 0.5, 1.0), VIEWS["retrieval"])["test"]
    assert found["exact"] == 1
