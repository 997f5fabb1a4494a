import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from steps import decontaminate as stage
from steps.core.entry import StepError
from steps.core.files import digest, read_rows, write_rows
from steps.core.params import Decontaminate
from steps.core.temperature import scaled
from steps.corpora.matching import HeldOut, Matcher, Rules
from steps.transfer.pool import balanced, draw, pieces, temperature
from steps.transfer.strategies import Supplies, full, selftrain
from tests.tiny import WORDS, classified, make_base
from tests.trained import answers, material

KNOBS = {"start": "x", "learning_rate": 5e-3, "batch_tokens": 128, "epochs": 2}
SETTINGS = Decontaminate(ngram=8, containment=0.5, near=0.8)
DOCUMENTS = pa.schema([(name, pa.string()) for name in ("id", "source", "group", "text")])


def settings(**knobs) -> selftrain.Settings:
    own = {"pool": "field", "pool_texts": 40, "confidence": 0.4}
    return selftrain.Settings(strategy="selftrain", **KNOBS | own | knobs)


def documents(count: int, seed: int = 3) -> list[dict[str, str]]:
    """Documents of three paragraphs of seven words; the second is like a text with entities."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        one, two, three = (chance.sample(WORDS[:20], 3) for _ in range(3))
        said = f"the {two[0].upper()} option of {two[1]} in {two[2]}"
        paragraphs = [f"fixed a crash in the {one[0]} {one[1]}", said]
        paragraphs.append(f"added support of the {' '.join(three)}")
        text = "\n\n".join(paragraphs)
        rows.append({"id": f"d{number:03}", "source": "s", "group": f"d{number}", "text": text})
    return rows


def write_corpus(corpora: Path, rows: list[dict[str, str]]) -> None:
    write_rows(corpora / "field" / "documents" / "part-00000.parquet", rows, DOCUMENTS)


def nothing(texts: list[str]) -> list[bool]:
    return [False] * len(texts)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("selftrain")
    write_corpus(root, documents(30))
    out = make_base(root / "start")
    selftrain.gather(settings(), Supplies(root, root, nothing), out)
    return out


def test_the_temperature_of_a_teacher_that_is_too_sure_is_found():
    random = np.random.default_rng(1)
    logits = random.normal(size=(20_000, 4))
    shares = scaled(np.exp(logits), 1.0)
    truth = (shares.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    assert temperature(shares, truth) == pytest.approx(1, rel=0.05)
    assert temperature(scaled(np.exp(logits), 1 / 3), truth) == pytest.approx(3, rel=0.05)


def test_a_teacher_that_is_right_on_a_few_texts_is_not_made_sure_of_everything():
    shares, truth = np.tile([[0.9, 0.1]], (8, 1)), np.zeros(8, dtype=np.int64)
    assert scaled(shares, temperature(shares, truth))[0, 0] == pytest.approx(0.95, abs=0.005)


def test_a_piece_is_as_long_as_the_task_s_texts():
    text = "One two.\n\nOne two three. Four five six. Seven eight nine ten.\n\nLong " + "word " * 9
    assert list(pieces(text, 2, 7)) == [
        "One two.",
        "One two three. Four five six.",
        "Seven eight nine ten.",
    ]
    assert list(pieces(text, 3, 4)) == ["One two three.", "Four five six.", "Seven eight nine ten."]


def test_the_pool_has_no_labelled_text_and_each_once():
    labelled = classified(12)
    texts = [f"new  {labelled[0]['text']}".removeprefix("new ").upper(), "a new text of six words"]
    rows = [{"id": str(n), "text": "\n\n".join(texts)} for n in range(2)]
    assert [item["text"] for item in draw(rows, labelled, 9, 1)] == [texts[1]]
    many = [draw(documents(30), labelled, 10, seed) for seed in (1, 1, 2)]
    assert len(many[0]) == 10
    assert many[0] == many[1] != many[2]


def test_of_a_class_no_more_is_taken_than_its_share_in_training_and_the_surest():
    classes, sure = ["a"] * 6 + ["b"] * 2 + ["c"] * 2, np.linspace(0.5, 0.9, 10)
    assert balanced(classes, sure, ["a", "b", "b", "b", "c"]) == [4, 5, 6, 7, 8, 9]
    assert balanced(classes, sure, ["a", "b"]) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_a_student_learns_from_the_pool_too(start, tmp_path, kind):
    given = material(kind, tmp_path, 12)
    found = selftrain.fit(given, settings(confidence=0.2), start, 1, tmp_path / "out")
    (one,) = found["rounds"]
    assert found["pool"] == 40
    assert 0 < one["taken"] <= one["sure"] <= 40
    assert set(one["classes"]) <= {name.removeprefix("B-") for name in given.classes}
    assert len(answers(selftrain, given, start, tmp_path / "out")) == 12
    teacher = tmp_path / "seed-1-round-0" / "done"
    assert digest(teacher / "model.safetensors") != digest(tmp_path / "out" / "model.safetensors")


def test_a_teacher_is_the_recipe_without_and_nothing_else_is_left_if_it_is_never_sure(
    start, tmp_path, capsys
):
    given = material("classification", tmp_path / "a")
    found = selftrain.fit(given, settings(confidence=0.9999999), start, 1, tmp_path / "out")
    assert found["rounds"][0]["taken"] == 0
    assert "no text of field is sure enough" in capsys.readouterr().out
    alone = full.Settings(strategy="full", **KNOBS)
    full.fit(material("classification", tmp_path / "b"), alone, start, 1, tmp_path / "alone")
    assert digest(tmp_path / "out") == digest(tmp_path / "alone")


def test_a_labelled_text_says_what_the_teacher_said(start, tmp_path):
    given = material("tokens", tmp_path, 12)
    full.fit(given, settings(epochs=6), start, 1, tmp_path / "teacher")
    scorer = full.load(start, tmp_path / "teacher")
    items = [{"id": e["id"], "text": e["text"]} for e in given.examples]
    found = selftrain.label(given, scorer, items, 0.3)
    assert found.examples
    values = answers(full, given, start, tmp_path / "teacher")
    said = {e["text"]: value for e, value in zip(given.examples, values, strict=True)}
    for example in found.examples:
        assert given.type.reference(example) == said[example["text"]]
        given.type.targets(example, given.classes)


def test_a_run_that_is_taken_up_between_or_in_rounds_ends_in_the_same_bytes(start, tmp_path):
    knobs = settings(rounds=2, checkpoint_minutes=0.0, confidence=0.35)
    room = tmp_path / "a"
    selftrain.fit(material("classification", room), knobs, start, 1, tmp_path / "whole")
    told = []

    def fail(epoch: int, score: float) -> None:
        told.append(epoch)
        if epoch == 1:
            raise InterruptedError

    room = tmp_path / "b"
    with pytest.raises(InterruptedError):
        selftrain.fit(material("classification", room, told=fail), knobs, start, 1, tmp_path / "t")
    assert told == [0, 1]  # of the last student alone
    selftrain.fit(material("classification", room), knobs, start, 1, tmp_path / "torn")
    assert digest(tmp_path / "torn") == digest(tmp_path / "whole")


def test_no_pseudo_labelled_text_overlaps_a_held_out_text(tmp_path):
    """Test texts stand in the corpus in several ways; the pool is of what decontaminate left."""
    held = classified(60)[40:]
    rows = documents(30)
    for number, example in enumerate(held):
        into = rows[number]
        into["text"] = [
            f"{into['text']}\n\n{example['text']}",
            f"Before it. {example['text'].upper()} And after.",
            example["text"].replace(" ", ", "),
        ][number % 3]
    held_out = [HeldOut(e["text"], e["group"], "t", "test") for e in held]
    work = stage.Decontamination(held_out, SETTINGS)
    kept, removed = stage.decontaminate(pa.RecordBatch.from_pylist(rows), work)
    assert len(removed) == 20
    write_corpus(tmp_path, kept.to_pylist())
    selftrain.gather(settings(), Supplies(tmp_path, tmp_path, nothing), tmp_path / "out")
    pool = draw(read_rows(tmp_path / "out" / "pool.parquet"), classified(40), 40, 1)
    assert pool
    rules = Rules(**SETTINGS.model_dump())
    matcher = Matcher([example["text"] for example in held], rules)
    assert matcher.first([item["text"] for item in pool]) == [None] * len(pool)


def test_no_more_documents_are_kept_than_the_pool_takes_whatever_their_order(tmp_path):
    rows = documents(30)
    for name, some in (("a", rows), ("b", rows[::-1])):
        write_corpus(tmp_path / name, some)
        supplies = Supplies(tmp_path, tmp_path / name, nothing)
        selftrain.gather(settings(pool_texts=7), supplies, tmp_path / name)
    assert len(read_rows(tmp_path / "a" / "pool.parquet")) == 7
    assert digest(tmp_path / "a" / "pool.parquet") == digest(tmp_path / "b" / "pool.parquet")
    with pytest.raises(StepError, match=r"no corpus 'field' in .*; there is: a, b"):
        selftrain.gather(settings(), Supplies(tmp_path, tmp_path, nothing), tmp_path)


@pytest.mark.parametrize(("kind", "more"), [("pairs", {}), ("classification", {"validation": []})])
def test_pairs_and_what_cannot_be_calibrated_are_refused(start, tmp_path, kind, more):
    given = replace(material(kind, tmp_path), **more)
    with pytest.raises(StepError, match="labels single texts, and is calibrated on validation"):
        selftrain.fit(given, settings(), start, 1, tmp_path / "out")
