"""The promises of a task type, held over the whole dict, and worked examples of each."""

import inspect
import json

import numpy as np
import pytest

from steps.core.entry import StepError
from steps.judge import calibration
from steps.judge.values import REFERENCES
from steps.tasks import OUTPUTS, TASKS, code, task_type
from tests.tiny import EXAMPLES

PROTOCOL = ("OUTPUT", "INPUTS", "labels", "reference", "decode")
OF_UNITS = ("LEVEL", "WEIGHED", "classes", "units", "targets", "features")
UNITS = [name for name in TASKS if task_type(name).OUTPUT in ("classes", "labels", "number")]
LABELLED = [name for name in UNITS if name != "regression"]


def perfect(kind, example):
    """What a network gives that knows the answer."""
    if kind.OUTPUT == "span":
        answers = [(a["start"], a["start"] + len(a["text"]), 9.0) for a in example["answers"]]
        return np.array([(-1, -1, 5.0), *answers])
    if kind.OUTPUT == "text":
        words = len(example["target"].split())
        return {"text": example["target"], "loss": 0.0, "words": words, "confidence": 1.0}
    if kind.OUTPUT == "vector":
        vector = np.random.default_rng(int(example["id"])).normal(size=64)
        return {"query": vector, "passage": vector * 2}
    classes = kind.classes(kind.labels(EXAMPLES[kind.__name__.split(".")[-1]](9)))
    targets = kind.targets(example, classes)
    return np.eye(len(classes))[targets] if kind.OUTPUT == "classes" else targets


def wanted(name, reference):
    """The value that is right where it is no reference itself."""
    if name == "question_answering":
        return reference[0] if reference else ""
    if name == "generation":
        return {"text": reference, "loss": 0.0, "words": 4}
    return 1 if name == "retrieval" else reference


def decode(name, examples):
    kind = task_type(name)
    classes = kind.classes(kind.labels(EXAMPLES[name](9))) if name in UNITS else []
    return kind.decode(examples, [perfect(kind, example) for example in examples], classes)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_type_keeps_its_protocol(name):
    kind = task_type(name)
    promised = PROTOCOL + OF_UNITS if name in UNITS else PROTOCOL
    assert [part for part in promised if not hasattr(kind, part)] == []
    assert kind.OUTPUT in OUTPUTS
    examples = EXAMPLES[name](9)
    assert kind.labels(examples) == sorted(kind.labels(examples))
    for example in examples:
        assert all(isinstance(example[field], str) for field in kind.INPUTS)
        assert json.loads(json.dumps(kind.reference(example))) == kind.reference(example)


@pytest.mark.parametrize("name", TASKS)
def test_the_judge_holds_a_prediction_against_the_same_reference(name):
    for example in EXAMPLES[name](9):
        told, known = task_type(name).reference(example), REFERENCES[name](example)
        assert json.dumps(told) == json.dumps(known)


@pytest.mark.parametrize("name", TASKS)
def test_who_gives_the_targets_has_said_the_reference(name):
    kind, examples = task_type(name), EXAMPLES[name](9)
    said = decode(name, examples)
    for example, prediction in zip(examples, said, strict=True):
        assert prediction.value == wanted(name, kind.reference(example))
        assert 0 < prediction.confidence <= 1
        json.dumps([prediction.value, prediction.answer, prediction.probabilities])


@pytest.mark.parametrize("name", TASKS)
def test_what_a_user_gets_has_other_names_than_what_was_read(name):
    items = EXAMPLES[name](2)
    for said in decode(name, items):
        assert not {*task_type(name).INPUTS, "id", "source", "language"} & said.answer.keys()


@pytest.mark.parametrize("name", UNITS)
def test_targets_and_features_have_one_entry_a_unit(name):
    kind, examples = task_type(name), EXAMPLES[name](9)
    classes = kind.classes(kind.labels(examples))
    for example in examples:
        units = kind.units(example)
        ends = [end for unit in units for end in unit]
        assert ends == sorted(ends)
        assert ends[-1] <= len(example[kind.INPUTS[-1]])
        features = kind.features(example)
        assert len(kind.targets(example, classes)) == len(features) == len(units)
        assert all(count > 0 for row in features for count in row.values())


@pytest.mark.parametrize("name", LABELLED)
def test_a_label_that_training_has_not_is_an_error_that_names_it(name):
    kind, (example, *_) = task_type(name), EXAMPLES[name](9)
    unseen = {"label": "odd", "labels": ["odd"]}
    changed = {key: unseen[key] for key in unseen if key in example}
    if "spans" in example:
        changed["spans"] = [example["spans"][0] | {"label": "odd"}, *example["spans"][1:]]
    classes = kind.classes(kind.labels(EXAMPLES[name](9)))
    with pytest.raises(StepError, match="label 'odd' of example 0000 is not in training"):
        kind.targets(example | changed, classes)


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("text", ["", " \t\n", "…", "\u200b", "😀"])
def test_an_odd_text_has_as_many_predictions_as_any(name, text):
    kind = task_type(name)
    item = dict.fromkeys(kind.INPUTS, text)
    units = kind.units(item)
    assert len(kind.features(item)) == len(units)
    classes = kind.classes(["a", "b"])
    (said,) = kind.decode([item], [np.full((len(units), len(classes)), 0.5)], classes)
    assert 0 < said.confidence <= 1


def test_the_code_of_a_type_is_its_module_and_what_it_takes_from():
    assert [path.name for path in code("classification")] == ["classification.py"]
    assert [path.name for path in code("pairs")] == ["classification.py", "pairs.py"]
    for name in TASKS:
        parts = {path.stem for path in code(name)}
        text = "".join(inspect.getsource(task_type(part)) for part in parts)
        assert {part for part in TASKS if f"steps.tasks.{part} import" in text} <= parts


def test_the_probability_of_each_label_is_told():
    kind, items = task_type("classification"), [{"text": "a"}]
    (said,) = kind.decode(items, [np.array([[0.2, 0.7, 0.1]])], ["a", "b", "c"])
    assert (said.value, said.confidence, said.probabilities) == ("b", 0.7, [0.2, 0.7, 0.1])
    assert said.answer["probabilities"] == {"a": 0.2, "b": 0.7, "c": 0.1}


@pytest.mark.parametrize(
    ("labels", "ordered", "places"),
    [
        (["negative", "neutral", "positive"], ["negative", "neutral", "positive"], [-1, 0, 1]),
        (["NEG", "POS"], ["NEG", "POS"], [-1, 1]),
        (["neutral", "positive"], ["neutral", "positive"], [0, 1]),
        (
            ["negative", "positive", "very negative", "very_positive"],
            ["very negative", "negative", "positive", "very_positive"],
            [-1, -0.5, 0.5, 1],
        ),
        (["1", "10", "4"], ["1", "4", "10"], [-1, -1 / 3, 1]),
        (["1 star", "2 stars", "3 stars"], ["1 star", "2 stars", "3 stars"], [-1, 0, 1]),
        (["neutral"], ["neutral"], [0]),
        (["angry", "happy"], ["angry", "happy"], []),
        (["negative", "positive", "unclear"], ["negative", "positive", "unclear"], []),
    ],
)
def test_sentiment_knows_the_order_of_its_labels(labels, ordered, places):
    kind = task_type("sentiment")
    assert kind.classes(labels) == ordered
    assert kind.places(ordered) == pytest.approx(places)


def test_a_sentiment_has_an_expected_place():
    kind, items = task_type("sentiment"), [{"text": "a"}]
    raws = [np.array([[0.1, 0.3, 0.6]])]
    (said,) = kind.decode(items, raws, ["negative", "neutral", "positive"])
    assert said.value == "positive"
    assert said.answer["score"] == pytest.approx(0.5)
    (said,) = kind.decode(items, raws, ["angry", "happy", "sad"])
    assert "score" not in said.answer


def test_any_number_of_labels_is_given():
    kind, items = task_type("multilabel"), [{"text": "a"}] * 2
    some, none = kind.decode(
        items, [np.array([[0.9, 0.5, 0.2]]), np.full((1, 3), 0.1)], list("abc")
    )
    assert (some.value, none.value) == (["a", "b"], [])
    assert some.confidence == pytest.approx((0.9 + 0.5 + 0.8) / 3)
    assert none.confidence == pytest.approx(0.9)


def test_labels_that_no_example_has_are_an_error():
    with pytest.raises(StepError, match="no training example has a label"):
        task_type("multilabel").classes([])


def test_the_words_of_a_pair_are_told_apart():
    (row,) = task_type("pairs").features({"text": "A cat sat", "pair": "a dog sat"})
    assert {"1:cat", "2:dog", "1:cat sat", "both:sat", "only:dog", "shared=6"} <= row.keys()
    assert not {"both:cat", "both:dog", "only:sat", "2:cat"} & row.keys()


def spans(text: str, tags: list[str]) -> list[list]:
    """Decode tags that a model is sure of, one a word."""
    kind = task_type("tokens")
    classes = kind.classes(["LOC", "PER"])
    raw = np.eye(len(classes))[[classes.index(tag) for tag in tags]]
    (said,) = kind.decode([{"text": text}], [raw], classes)
    assert [entity["text"] for entity in said.answer["entities"]] == [
        text[start:end] for start, end, _ in said.value
    ]
    return said.value


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O O O", []),
        ("B-PER I-PER O B-LOC", [[0, 5, "PER"], [8, 9, "LOC"]]),
        ("I-PER I-PER O I-LOC", [[0, 5, "PER"], [8, 9, "LOC"]]),
        ("B-PER B-PER I-PER O", [[0, 2, "PER"], [3, 7, "PER"]]),
        ("B-PER I-LOC O O", [[0, 2, "PER"], [3, 5, "LOC"]]),
        ("I-PER O I-PER I-PER", [[0, 2, "PER"], [6, 9, "PER"]]),
        ("B-PER I-PER I-PER I-PER", [[0, 9, "PER"]]),
    ],
)
def test_an_inside_tag_that_continues_nothing_begins_a_span(tags, expected):
    assert spans("ab cd e f", tags.split()) == expected


def test_words_are_the_units_in_every_script():
    said = {
        "don't": ["don", "'", "t"],
        "save_it(3.5)": ["save_it", "(", "3", ".", "5", ")"],
        "中文abc": ["中", "文", "abc"],
        "हिन्दी में।": ["हिन्दी", "में", "।"],
        "e\u0301te\u0301": ["e\u0301te\u0301"],
        "한국어": ["한국어"],
    }
    for text, words in said.items():
        units = task_type("tokens").units({"text": text})
        assert [text[start:end] for start, end in units] == words


def test_the_judge_counts_the_same_words():
    assert calibration.WORD == task_type("tokens").WORD


def test_a_span_that_ends_inside_a_word_has_the_word():
    kind = task_type("tokens")
    example = {"id": "1", "text": "foobar x", "spans": [{"start": 3, "end": 6, "label": "A"}]}
    assert kind.targets(example, kind.classes(["A"])).tolist() == [1, 0]


def tagged(text: str, *words: tuple[str, str]) -> dict:
    found, end = [], 0
    for word, label in words:
        start = text.index(word, end)
        end = start + len(word)
        found.append({"start": start, "end": end, "label": label})
    return {"id": "1", "text": text, "spans": found}


def test_a_word_of_several_units_has_one_tag():
    kind, classes = task_type("tags"), ["AUX+PART", "PRON", "PUNCT"]
    example = tagged("I don't.", ("I", "PRON"), ("don't", "AUX+PART"), (".", "PUNCT"))
    assert kind.targets(example, classes).tolist() == [1, 0, 0, 0, 2]
    raw = np.array(
        [[0, 1, 0], [0.3, 0.4, 0.3], [0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1]], dtype=float
    )
    (said,) = kind.decode([example], [raw], classes)
    assert said.value == kind.reference(example)  # of the three units the surest speaks
    assert said.confidence == pytest.approx(2.9 / 3)
    (said,) = kind.decode([{"text": "I don't."}], [raw], classes)
    assert [tag["text"] for tag in said.answer["tags"]] == ["I", "don", "'", "t", "."]


def test_words_that_share_a_unit_have_its_tag():
    kind, classes = task_type("tags"), ["AUX", "PART", "X"]
    example = tagged("x cannot", ("x", "X"), ("can", "AUX"), ("not", "PART"))
    assert kind.targets(example, classes).tolist() == [2, 0]
    (said,) = kind.decode([example], [np.eye(3)[[2, 0]]], classes)
    assert said.value == [[0, 1, "X"], [2, 5, "AUX"], [5, 8, "AUX"]]


def test_a_word_without_a_tag_is_an_error_that_names_it():
    kind, example = task_type("tags"), tagged("the cat", ("the", "DET"))
    with pytest.raises(StepError, match="'cat' at 4 of example 1 has no tag"):
        kind.targets(example, ["DET"])


def answer(text: str, *candidates: tuple[int, int, float]):
    kind = task_type("question_answering")
    (said,) = kind.decode([{"question": "?", "text": text}], [np.array(candidates)], [])
    return said


def test_an_answer_is_a_piece_of_the_text_with_its_quotes():
    text = "He said \"I call it 'home'\" twice."
    start = text.index('"')
    end = text.rindex('"') + 1
    said = answer(text, (-1, -1, 0.0), (start, end, 2.0), (start + 1, end - 1, 1.0))
    assert said.value == "\"I call it 'home'\""
    assert said.answer == {"answer": said.value, "start": 8, "confidence": said.confidence}
    assert said.confidence == pytest.approx(np.exp(2) / (1 + np.exp(2) + np.exp(1)))


def test_no_answer_is_an_answer():
    said = answer("a b", (-1, -1, 3.0), (0, 1, 2.0))
    assert (said.value, said.answer["start"]) == ("", None)
    kind = task_type("question_answering")
    (said,) = kind.decode([{"question": "?", "text": ""}], [np.zeros((0, 3))], [])
    assert (said.value, said.confidence) == ("", 1.0)


def test_a_generated_text_comes_with_the_loss_of_its_target():
    kind = task_type("generation")
    raw = {"text": "of it", "loss": 2.5, "words": 3, "confidence": 0.5}
    (said,) = kind.decode([{"text": "a"}], [raw], [])
    assert said.value == {"text": "of it", "loss": 2.5, "words": 3}
    assert said.answer == {"continuation": "of it", "confidence": 0.5}


def test_a_passage_is_ranked_among_the_distinct_ones():
    kind = task_type("retrieval")
    items = [{"text": t, "target": p} for t, p in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "z"))]
    vectors = {"x": [1.0, 0.0], "y": [0.0, 3.0], "z": [0.0, 1.0]}  # y and z point one way
    queries = [[2.0, 1.0], [1.0, 2.0], [0.0, 1.0], [1.0, 0.1]]
    raws = [
        {"query": np.array(query), "passage": np.array(vectors[item["target"]])}
        for query, item in zip(queries, items, strict=True)
    ]
    said = kind.decode(items, raws, [])
    # b: y is as near as z, which counts against it; c: both before x; d: x, then y and z alike
    assert [one.value for one in said] == [1, 2, 3, 3]
    assert said[0].answer == {"vector": [2.0, 1.0], "rank": 1}


def test_a_query_without_a_passage_has_its_vector_alone():
    raws = [{"query": np.array([1.0, 2.0]), "passage": None}]
    (said,) = task_type("retrieval").decode([{"text": "a"}], raws, [])
    assert (said.value, said.answer) == (0, {"vector": [1.0, 2.0]})


def test_a_vector_that_is_no_number_is_never_found():
    items = [{"text": "a", "target": "x"}, {"text": "b", "target": "y"}]
    raws = [{"query": np.array([np.nan]), "passage": np.array([1.0])} for _ in items]
    assert [said.value for said in task_type("retrieval").decode(items, raws, [])] == [2, 2]
