"""What a model went by: found where it was planted, adding up, in the right characters."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steps.core.files import write_json
from steps.core.params import Explain, Recipe
from steps.finetune import finetune
from steps.prepare import prepare
from steps.tasks import TASKS, task_type
from steps.transfer.attribution import Explanation, Mark, Question, explain, unable
from steps.transfer.attribution.gradients import joined
from steps.transfer.attribution.weights import Linear
from steps.transfer.checkpoints import load_predictor, save_bundle_model
from steps.transfer.strategies import Material
from tests.families import FAMILIES, make_family
from tests.tiny import EXAMPLES
from tests.trained import material

FULL = {"learning_rate": 5e-3, "epochs": 8, "batch_tokens": 256, "weight_decay": 0.0}
LSTM = {"head": "bilstm_crf", "lstm": 16, "learning_rate": 2e-2, "batch_tokens": 128}
PLAIN = {"inverse_regularisation": 100.0}
GRADIENTS = Explain(method="integrated_gradients", steps=16, errors=20)
ATTENTION = Explain(method="attention", steps=1, errors=20)
OTHERS = ["the", "a", "field", "model", "view", "page", "cache", "user", "option", "with"]
PLANTED = {"crash": "fix", "support": "feature"}
Bundles = Callable[..., Path]


def planted(n: int) -> list[dict[str, Any]]:
    """n texts of chance words with one that says the label; as spans the word itself."""
    draw, rows = random.Random(3), []
    for i in range(n):
        words = draw.choices(OTHERS, k=7)
        word, label = list(PLANTED.items())[i % 2]
        at = draw.randrange(7)
        words[at] = word
        start = len(" ".join(["", *words[:at]]))
        span = {"start": start, "end": start + len(word), "label": label}
        row = {"id": f"{i:03}", "source": "s", "text": " ".join(words), "label": label}
        rows.append(row | {"spans": [span]})
    return rows


def fitted(kind: str, knobs: dict[str, Any], start: Path, room: Path, given: Material) -> Path:
    """Train a recipe on the material; return its bundle."""
    recipe = Recipe(strategy=knobs.pop("strategy"), start=str(start), **knobs)
    prepare("r", recipe, start, room / "start")
    about = {"task": "t", "type": kind, "recipe": "r", "strategy": recipe.strategy}
    about |= {"labels": [], "max_tokens": given.max_tokens, "seeds": [1], "start": str(start)}
    finetune(about, recipe, given, room / "start", room / "candidate")
    save_bundle_model(room / "start", room / "candidate", 1, room / "bundle")
    return room / "bundle"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family("bert", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def bundles(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Bundles of a type, trained when they are first asked for on planted texts."""
    made: dict[Any, Path] = {}

    def ask(kind: str, strategy: str = "full", **knobs: Any) -> Path:
        key = (kind, strategy, *knobs.items())
        if key not in made:
            room = tmp_path_factory.mktemp(kind)
            labels = sorted(PLANTED.values())
            classes = task_type(kind).classes(labels)
            given = Material(kind, classes, planted(40), 64, planted(8), room=room / "room")
            recipe = {"strategy": strategy} | (FULL if strategy == "full" else PLAIN) | knobs
            made[key] = fitted(kind, recipe, base, room, given)
        return made[key]

    return ask


def question(row: dict[str, Any], spans: bool) -> Question:
    (span,) = row["spans"]
    return Question(row, row["label"], (span["start"], span["end"]) if spans else None)


def strongest(found: Explanation, text: str) -> str:
    best = max(found.marks, key=lambda mark: mark.value)
    return text[best.start : best.end]


@pytest.mark.parametrize(
    ("kind", "strategy", "knobs"),
    [
        ("classification", "full", {}),
        ("classification", "features", {}),
        ("classification", "baseline", {}),
        ("tokens", "full", {}),
        ("tokens", "full", {"crf": True, "wide": True}),
        ("tokens", "features", LSTM),
        ("tokens", "baseline", {}),
        ("tokens", "baseline", {"method": "crf"}),
    ],
)
def test_the_planted_word_is_found_and_all_adds_up(bundles, kind, strategy, knobs):
    """In eight texts that training has not seen."""
    rows = planted(48)[40:]
    asked = [question(row, kind == "tokens") for row in rows]
    found = explain(bundles(kind, strategy, **knobs), asked, GRADIENTS)
    for row, one in zip(rows, found, strict=True):
        assert strongest(one, row["text"]) in PLANTED
        assert max(abs(mark.value) for mark in one.marks) == 1
        assert one.completeness < 0.02
        assert one.method == ("weights" if strategy == "baseline" else "integrated_gradients")


def test_more_steps_come_nearer_to_the_whole(bundles):
    asked = [question(row, False) for row in planted(8)]
    off = [
        np.mean([one.completeness for one in explain(bundles("classification"), asked, settings)])
        for settings in (GRADIENTS.model_copy(update={"steps": n}) for n in (1, 4, 32))
    ]
    assert off == sorted(off, reverse=True)
    assert off[0] > 0.01
    assert off[-1] < 0.001


def test_the_linear_model_is_exact(bundles):
    """The marks, before they are scaled, are the score but for what every text has."""
    bundle = bundles("classification", "baseline")
    row = planted(1)[0]
    linear = Linear(bundle)
    said = linear(question(row, False))
    empty = linear.head["bias"]
    values = linear.vocabulary.matrix(linear.kind.features(row))
    scores = np.asarray(values @ linear.head["weight"].T)[0] + empty
    label = linear.classes.index(row["label"])
    assert sum(mark.value for mark in said.marks) == pytest.approx(scores[label] - empty[label])
    assert said.completeness == pytest.approx(0, abs=1e-9)
    text = "".join(row["text"][mark.start : mark.end] for mark in said.marks)
    assert text == row["text"].replace(" ", "")


def test_two_texts_are_both_marked(base, tmp_path):
    for name, knobs in (("full", FULL), ("baseline", PLAIN)):
        given = material("pairs", tmp_path / name / "room", 24)
        bundle = fitted("pairs", {"strategy": name} | knobs, base, tmp_path / name, given)
        item = given.examples[1]
        (found,) = explain(bundle, [Question(item, item["label"])], GRADIENTS)
        words = {name: [] for name in ("text", "pair")}
        for mark in found.marks:
            words[mark.field].append(item[mark.field][mark.start : mark.end])
        assert "".join(words["text"]) == item["text"].replace(" ", "")
        assert "".join(words["pair"]) == item["pair"].replace(" ", "")
        assert found.completeness < 0.02


def test_pieces_of_words_have_their_own_characters(bundles):
    item = {"text": "  zeb crash, ok", "label": "fix"}
    (found,) = explain(bundles("classification"), [Question(item, "fix")], GRADIENTS)
    said = [(mark.start, item["text"][mark.start : mark.end]) for mark in found.marks]
    assert said == [(2, "z"), (3, "e"), (4, "b"), (6, "crash"), (11, ","), (13, "o"), (14, "k")]


def test_a_long_text_is_explained_in_the_window_that_read_it(bundles):
    words = ["the"] * 100
    words[80] = "crash"
    text = " ".join(words)
    at = text.index("crash")
    item = {"text": text, "label": "fix"}
    (found,) = explain(bundles("tokens"), [Question(item, "fix", (at, at + 5))], GRADIENTS)
    assert strongest(found, text) == "crash"
    assert 0 < found.marks[0].start < at < found.marks[-1].start


def test_attention_has_no_sign_and_adds_up_to_nothing(bundles):
    rows = planted(4)
    for kind in ("classification", "tokens"):
        found = explain(bundles(kind), [question(r, kind == "tokens") for r in rows], ATTENTION)
        for one in found:
            assert one.method == "attention"
            assert one.completeness is None
            assert max(mark.value for mark in one.marks) == 1
            assert min(mark.value for mark in one.marks) >= 0


def test_an_answer_does_not_depend_on_what_was_asked_before(bundles):
    asked = [question(row, False) for row in planted(4)]
    for settings in (GRADIENTS, ATTENTION):
        found = explain(bundles("classification"), asked + asked[::-1], settings)
        assert found == found[::-1]


def test_an_answer_is_explained_by_the_words_it_is_made_of(base, tmp_path):
    given = material("question_answering", tmp_path / "room", 16)
    bundle = fitted("question_answering", {"strategy": "full"} | FULL, base, tmp_path, given)
    said = load_predictor(bundle).predictions(given.examples)
    told = [(e, one.value) for e, one in zip(given.examples, said, strict=True)]
    asked = [Question(item, value or "no answer") for item, value in told]
    found = explain(bundle, asked, GRADIENTS)
    assert all(one.completeness < 0.05 for one in found)
    assert {mark.field for one in found for mark in one.marks} == {"question", "text"}
    inside = [
        strongest(one, item["text"]) in value
        for one, (item, value) in zip(found, told, strict=True)
        if value
    ]
    assert inside
    assert np.mean(inside) > 0.5


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"xlnet"}))
def test_every_family_adds_up(family, tmp_path):
    """Untrained but for the head: what is held is that embeddings and positions are found."""
    start = make_family(family, tmp_path / "base")
    given = Material("classification", ["feature", "fix"], planted(12), 64, room=tmp_path / "room")
    bundle = fitted("classification", {"strategy": "features"} | PLAIN, start, tmp_path, given)
    asked = [question(row, False) for row in planted(3)]
    settings = GRADIENTS.model_copy(update={"steps": 64})
    assert all(one.completeness < 0.05 for one in explain(bundle, asked, settings))
    seen = explain(bundle, asked, ATTENTION)
    assert all(len(one.marks) == 7 for one in seen)
    (nothing,) = explain(bundle, [Question({"text": ""}, "fix")], GRADIENTS)
    assert nothing.marks == []


@pytest.mark.parametrize("kind", ["translation", "summarisation", "generation", "retrieval"])
def test_types_that_choose_no_label_say_so(kind, tmp_path):
    assert kind in TASKS
    write_json(tmp_path / "candidate.json", {"type": kind, "strategy": "full", "classes": []})
    said = unable(tmp_path, GRADIENTS)
    assert said == f"A task of type {kind} chooses no label whose score could be explained."


def test_a_model_whose_rows_stand_upright_says_so(tmp_path):
    write_json(tmp_path / "candidate.json", {"type": "sentiment", "strategy": "full"})
    for file, said in (("config", {"model_type": "xlnet"}), ("network", {})):
        write_json(tmp_path / f"{file}.json", said)
    assert "set explain.method to attention" in unable(tmp_path, GRADIENTS)
    assert unable(tmp_path, ATTENTION) == ""


def test_models_that_give_none_say_so(bundles):
    for kind, method in (("classification", "majority"), ("tokens", "lexicon")):
        said = unable(bundles(kind, "baseline", method=method), GRADIENTS)
        assert said.startswith(f"The winner (baseline by the method {method}) gives no attribution")
    off = GRADIENTS.model_copy(update={"method": "none"})
    assert "turned off" in unable(bundles("classification"), off)
    assert unable(bundles("classification"), GRADIENTS) == ""


def test_a_number_is_explained_too(base, tmp_path):
    given = material("regression", tmp_path / "room", 24)
    bundle = fitted("regression", {"strategy": "full"} | FULL, base, tmp_path, given)
    item = EXAMPLES["regression"](5)[0]
    (found,) = explain(bundle, [Question(item, "the score")], GRADIENTS)
    assert found.completeness < 0.02
    lowest = min(found.marks, key=lambda mark: mark.value)
    assert item["text"][lowest.start : lowest.end] in ("crash", "error")


def test_what_a_word_adds_is_shared_by_its_tokens():
    tokens = [Mark("text", 0, 3, 1.0), Mark("text", 3, 5, 2.0)]
    words = [Mark("text", 0, 5, 1.0), Mark("text", 6, 8, -1.0)]
    assert joined(tokens, words) == [
        Mark("text", 0, 3, 1.5),
        Mark("text", 3, 5, 2.5),
        Mark("text", 6, 8, -1.0),
    ]


def test_a_text_that_says_nothing_has_no_marks(bundles):
    for text in ("", " "):
        (found,) = explain(bundles("classification"), [Question({"text": text}, "fix")], GRADIENTS)
        assert found.marks == []
    (found,) = explain(bundles("tokens"), [Question({"text": "a"}, "other", (0, 1))], GRADIENTS)
    assert found.marks == []
    assert explain(bundles("tokens"), [], GRADIENTS) == []
