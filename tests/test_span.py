"""The network that finds answers: what it learns from, what it says, and when it says nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from steps.core.entry import StepError
from steps.judge.metrics import compute
from steps.tasks import task_type
from steps.transfer import networks
from steps.transfer.networks import Shape
from steps.transfer.networks.rows import Reader
from steps.transfer.networks.span import BEST, LONGEST, Network
from steps.transfer.packing import read_tokenizer
from steps.transfer.strategies import Reading, full
from tests.families import make_family
from tests.tiny import EXAMPLES, WORDS, make_base
from tests.trained import answers, material

KIND = "question_answering"
KNOBS = {"start": "x", "learning_rate": 5e-3, "batch_tokens": 256, "weight_decay": 0.0}
FILLER = " ".join(WORDS[:12]) + ". "


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def settings(epochs: int) -> full.Settings:
    return full.Settings(strategy="full", epochs=epochs, **KNOBS)


def scored(values) -> float:
    references = [task_type(KIND).reference(example) for example in EXAMPLES[KIND](8)]
    return compute("answer_f1", references, values, [])


def right(examples) -> list[str]:
    return ["".join(task_type(KIND).reference(example)[:1]) for example in examples]


def untrained(base: Path, room: Path, max_tokens: int = 24) -> Network:
    torch.manual_seed(0)
    return Network.build(base, replace(material(KIND, room), max_tokens=max_tokens), Shape())


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_models_of_each_kind_learn_eight_questions(tmp_path, family):
    start, given = make_family(family, tmp_path / "start"), material(KIND, tmp_path / "room")
    full.fit(given, settings(80), start, 1, tmp_path / "out")
    assert answers(full, given, start, tmp_path / "out") == right(given.examples)


def test_answers_are_found_in_texts_of_several_windows(base, tmp_path):
    given = replace(material(KIND, tmp_path / "room"), max_tokens=24)
    for number, example in enumerate(given.examples):
        before = FILLER * (number % 3)
        example["text"] = before + example["text"] + FILLER
        for answer in example["answers"]:
            answer["start"] += len(before)
    full.fit(given, settings(60), base, 1, tmp_path / "out")
    made = Network.load(base, tmp_path / "out")
    windows = made.rows(given.examples, learn=True)
    assert len(windows) > 3 * len(given.examples)
    assert answers(full, given, base, tmp_path / "out") == right(given.examples)


def test_the_scores_are_those_of_all_spans_of_all_windows(base, tmp_path):
    made = untrained(base, tmp_path)
    item = {"question": "the option of", "text": f"{FILLER * 4}“quoted”  {FILLER}"}
    every, none = {}, np.inf
    for window in made.rows([item], learn=False):
        with torch.inference_mode():
            start, end = made.marks(**made.collate([window]))[:, 0].numpy()
        none = min(none, start[0] + end[0])
        offsets = window.row.offsets
        inside = [at for at in range(window.size) if offsets[at, 0] >= 0]
        for first in inside:
            for last in inside:
                if first <= last < first + LONGEST:
                    place = offsets[first, 0], offsets[last, 1]
                    score = start[first + 1] + end[last + 1]
                    every[place] = max(score, every.get(place, score))
    best = sorted(every, key=lambda place: -every[place])[:BEST]
    expected = np.array([(-1, -1, none), *((*place, every[place]) for place in best)])
    other = {"question": "the", "text": "the cache"}
    for batch in (1, 3, 32):
        found = made.scores([other, item, other], batch)[1]
        np.testing.assert_allclose(found, expected, atol=2e-2)
        np.testing.assert_array_equal(found[:, :2], expected[:, :2])


def learnt(base: Path, room: Path, text: str, *answers: str) -> list[list[str]]:
    """The tokens that each window learns to answer with; eight of the text are in one."""
    made = untrained(base, room, 12)
    said = [{"start": text.index(answer), "text": answer} for answer in answers]
    windows = made.rows([{"question": "the", "text": text, "answers": said}], learn=True)
    tokens = [[made.encoder.tokenizer.id_to_token(n) for n in w.row.ids] for w in windows]
    bounds = [window.target for window in windows]
    return [row[s - 1 : e] if e else [] for row, (s, e) in zip(tokens, bounds, strict=True)]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], [[], []]),
        (["field setting"], [["field", "setting"], []]),
        (["query cache"], [[], ["query", "cache"]]),
        (["class method"], [["class", "method"], ["class", "method"]]),
        (["cache user", "field"], [["field"], ["cache", "user"]]),
        (["class", "cache"], [["class"], ["class"]]),
        (["iel"], [["field"], []]),
        ([" field "], [["field"], []]),
    ],
)
def test_a_window_learns_the_first_answer_that_it_holds_whole(base, tmp_path, answers, expected):
    text = "a field setting model view class method query cache user"
    assert learnt(base, tmp_path, text, *answers) == expected


def test_an_answer_inside_a_torn_word_is_its_own_tokens(base, tmp_path):
    assert learnt(base, tmp_path, "a wxyz", "xy") == [["##x", "##y"]]


def test_no_answer_is_said_where_it_scores_best_on_validation(base, tmp_path):
    made = untrained(base, tmp_path / "room")
    given = material(KIND, tmp_path / "room", score=scored)
    found = made.settle(given)
    made.threshold.zero_()
    gaps = np.array([raw[1, 2] - raw[0, 2] for raw in made.scores(given.validation, 32)])
    tried = []
    for threshold in [-9, 0, 9, *(gaps + 1e-4), *(gaps - 1e-4)]:
        made.threshold.fill_(threshold)
        tried.append(given.judged(lambda reading, items: made.scores(items, 32)))
    assert found == max(tried) > min(tried)
    assert made.settle(given) == found
    assert given.judged(lambda reading, items: made.scores(items, 32)) == pytest.approx(found)


def test_the_threshold_of_the_best_epoch_is_saved(base, tmp_path):
    given = material(KIND, tmp_path / "room", score=scored)
    figures = full.fit(given, settings(3), base, 1, tmp_path / "out")
    scorer = networks.load(base, tmp_path / "out")
    assert float(Network.load(base, tmp_path / "out").threshold) != 0
    assert given.judged(scorer) == max(figures["scores"])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_text_or_a_question_without_words_is_no_error(tmp_path, family):
    start = make_family(family, tmp_path / "start")
    made = untrained(start, tmp_path)
    items = [{"question": q, "text": t} for q in ("", "the", " ") for t in ("", "  \n", "a cache")]
    raws = made.scores(items, 4)
    said = task_type(KIND).decode(items, raws, [])
    for item, raw, prediction in zip(items, raws, said, strict=True):
        assert raw[0, :2].tolist() == [-1, -1]
        assert (len(raw) > 1) == bool(item["text"].strip())
        assert prediction.value == prediction.value.strip()
        assert prediction.value in item["text"]


def test_a_head_of_another_kind_is_one_line(base, tmp_path):
    with pytest.raises(StepError, match="the network for this kind of task has no crf"):
        Network.build(base, material(KIND, tmp_path), Shape(crf=True))


def test_layers_may_be_dropped(base, tmp_path):
    given, knobs = material(KIND, tmp_path / "room"), settings(1)
    full.fit(given, knobs.model_copy(update={"dropped_layers": 1}), base, 1, tmp_path / "out")
    assert len(Network.load(base, tmp_path / "out").encoder.layers) == 1
    assert len(networks.load(base, tmp_path / "out")(Reading(4), given.examples)) == 8


def test_the_question_is_never_an_answer(base, tmp_path):
    reader = Reader(read_tokenizer(base), ("question", "text"), 24)
    (row,) = reader.windows([{"question": "the cache", "text": "a view"}])
    made = untrained(base, tmp_path)
    (window,) = made.rows([{"question": "the cache", "text": "a view"}], learn=False)
    with torch.inference_mode():
        marks = made.marks(**made.collate([window]))[0, 0, 1:]
    assert marks.isfinite().tolist() == (row.offsets[:, 0] >= 0).tolist()
