"""Plain baselines: each does what it says, on what can be reckoned by hand."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from steps.core.entry import StepError
from steps.core.files import digest
from steps.tasks import TASKS, task_type
from steps.transfer.networks.heads import fit_linear
from steps.transfer.plain.answers import Nearest as NearestPhrase
from steps.transfer.plain.answers import Reading as Words
from steps.transfer.plain.language import END, START, Bigrams, Language
from steps.transfer.strategies import Material, Reading, baseline
from tests.tiny import EXAMPLES

CASES = [
    (kind, method)
    for kind in TASKS
    for method in ("auto", *baseline.METHODS[task_type(kind).OUTPUT])
    if not (method in baseline.FOR_WORDS and getattr(task_type(kind), "LEVEL", "") == "text")
]


def material(kind: str, examples: list) -> Material:
    module = task_type(kind)
    named = module.labels(examples)
    return Material(
        kind, module.classes(named) if hasattr(module, "classes") else named, examples, 64
    )


def trained(kind: str, method: str, out: Path, examples=None):
    """Fit, save and load; return (material, scorer)."""
    found = material(kind, EXAMPLES[kind](8) if examples is None else examples)
    settings = baseline.Settings(strategy="baseline", start="x", method=method)
    settings = settings.model_copy(update={"inverse_regularisation": 100.0})
    assert baseline.fit(found, settings, Path("none"), 1, out)["method"] != "auto"
    return found, baseline.load(Path("none"), out)


def values(found: Material, scorer, items: list) -> list:
    raws = scorer(Reading(32), items)
    return [said.value for said in found.type.decode(items, raws, found.classes)]


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_it_answers_alike_together_alone_and_again(tmp_path, kind, method):
    found, scorer = trained(kind, method, tmp_path / "one")
    items = EXAMPLES[kind](12)
    together = values(found, scorer, items)
    if kind != "retrieval":  # whose ranks are among the items
        assert together == [values(found, scorer, [item])[0] for item in items]
    trained(kind, method, tmp_path / "two")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert {path.suffix for path in (tmp_path / "one").iterdir()} <= {".json", ".safetensors"}


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_it_says_something_of_texts_without_a_word(tmp_path, kind, method):
    found, scorer = trained(kind, method, tmp_path)
    items = [dict.fromkeys(found.type.INPUTS, text) for text in ("", " ", "…")]
    assert len(values(found, scorer, items)) == 3


@pytest.mark.parametrize(("kind", "method"), [c for c in CASES if baseline.memorises(*c)])
def test_it_learns_its_own_eight_examples(tmp_path, kind, method):
    found, scorer = trained(kind, method, tmp_path)
    truth = [found.type.reference(example) for example in found.examples]
    said = values(found, scorer, found.examples)
    if kind == "regression":
        assert said == pytest.approx(truth, abs=0.1)
    elif kind == "generation":
        assert [one["text"] for one in said] == truth
    else:
        assert said == truth


def test_auto_takes_the_strongest_of_a_task():
    chosen = {kind: baseline.method_for(kind) for kind in TASKS}
    assert chosen["tokens"] == chosen["classification"] == chosen["regression"] == "linear"
    assert chosen["summarisation"] == "lead"
    assert chosen["translation"] == chosen["question_answering"] == "nearest"


def test_a_method_that_does_nothing_for_a_task_is_one_line():
    with pytest.raises(StepError, match=r"'lead' does nothing .* linear, majority, or name other"):
        baseline.method_for("classification", "lead")
    with pytest.raises(StepError, match="'lexicon' does nothing for a task of type pairs"):
        baseline.method_for("pairs", "lexicon")


def texts(said: dict[str, list]) -> list[dict]:
    names, columns = list(said), zip(*said.values(), strict=True)
    return [dict(zip(names, row, strict=True), id=str(n)) for n, row in enumerate(columns)]


def test_the_majority_is_the_most_frequent_label_set_or_mean(tmp_path):
    rows = texts({"text": ["a", "b", "c"], "label": ["x", "y", "y"]})
    assert values(*trained("classification", "majority", tmp_path / "1", rows), rows) == ["y"] * 3
    rows = texts({"text": ["a", "b", "c"], "score": [1.0, 2.0, 6.0]})
    assert values(*trained("regression", "majority", tmp_path / "2", rows), rows) == [3.0] * 3
    sets = [["p"], ["q", "p"], ["q", "p"], ["q"], ["q"], ["q"]]
    rows = texts({"text": list("abcdef"), "labels": sets})
    assert values(*trained("multilabel", "majority", tmp_path / "3", rows), rows) == [["q"]] * 6
    rows = texts({"text": list("abc"), "labels": [[], [], ["q"]]})
    assert values(*trained("multilabel", "majority", tmp_path / "4", rows), rows) == [[]] * 3


def test_labels_that_all_or_no_texts_have_are_learned(tmp_path):
    rows = texts({"text": list("abc"), "labels": [["q"]] * 3})
    assert values(*trained("multilabel", "linear", tmp_path / "1", rows), rows) == [["q"]] * 3
    rows = texts({"text": list("abc"), "label": ["x"] * 3})
    assert values(*trained("classification", "linear", tmp_path / "2", rows), rows) == ["x"] * 3
    none = fit_linear("labels", np.eye(3), np.zeros((3, 0), dtype=np.float32), 1.0)
    assert none["weight"].shape == (0, 3)


def test_a_field_mends_what_no_training_text_has(tmp_path):
    """Words that are O or I- by themselves are I- after B-, and never alone."""
    found, scorer = trained("tokens", "crf", tmp_path / "crf")
    plain = baseline.load(Path("none"), _saved(found, "linear", tmp_path / "linear"))
    items = [{"text": "the DEBUG7 option or save_3 of user"}, {"text": ""}]
    one, other = scorer(Reading(2), items), plain(Reading(2), items)
    assert [rows.shape for rows in one] == [rows.shape for rows in other]
    np.testing.assert_allclose(one[0].sum(axis=1), 1, atol=1e-5)
    inside = [place for place, name in enumerate(found.classes) if name.startswith("I-")]
    assert one[0][0, inside].sum() < 1e-3
    assert np.abs(one[0] - other[0]).max() > 1e-3


def _saved(found: Material, method: str, out: Path) -> Path:
    baseline.fit(
        found,
        baseline.Settings(strategy="baseline", start="x", method=method),
        Path("none"),
        1,
        out,
    )
    return out


def test_a_lexicon_takes_the_longest_phrase_as_it_was_mostly_labelled(tmp_path):
    def marked(text: str, *spans: tuple[str, str]) -> dict:
        found = []
        for phrase, label in spans:
            at = text.index(phrase)
            found.append({"start": at, "end": at + len(phrase), "label": label})
        return {"id": text, "text": text, "spans": found}

    rows = [
        marked("call get_a of user model", ("get_a", "FUNC"), ("user model", "CLASS")),
        marked("the user model and the user", ("user model", "CLASS")),
        marked("get_a or page", ("get_a", "FUNC"), ("page", "CLASS")),
        marked("a page, a page"),  # twice of three times page is nothing
    ]
    found, scorer = trained("tokens", "lexicon", tmp_path, rows)
    item = {"text": "user model calls get_a of user on page"}
    assert values(found, scorer, [item]) == [[[0, 10, "CLASS"], [17, 22, "FUNC"]]]


def test_a_lexicon_gives_unknown_words_the_most_frequent_tag(tmp_path):
    found, scorer = trained("tags", "lexicon", tmp_path)
    (said,) = values(found, scorer, [{"text": "the zebra"}])
    units = np.concatenate([found.type.targets(e, found.classes) for e in found.examples])
    most = found.classes[np.bincount(units).argmax()]
    assert [label for *_, label in said] == ["DET", most]


def test_lead_copy_and_nearest_write_what_they_say(tmp_path):
    rows = texts({"text": ["a b c d e f", "new field here"], "target": ["one two", "x y z u"]})
    item = {"text": "the  field of view is new"}
    said = [
        values(*trained("summarisation", m, tmp_path / m, rows), [item])
        for m in ("lead", "copy", "nearest", "majority")
    ]
    assert said == [["the field of"], ["the  field of view is new"], ["x y z u"], ["one two"]]


def test_all_continuations_together_have_a_probability_of_one():
    language = Language([("the", "a b"), ("the", "a"), ("on", "b a a")])
    known = ["a", "b", "the", "on", END]
    for before in (*known, "unseen", START):
        beyond = 1 - sum(language.spelled(word) for word in known)
        spelled = sum(language.words(before, word) for word in known)
        unknown = language.words(before, "zz") / language.spelled("zz")  # alike for all unknown
        assert spelled + unknown * beyond == pytest.approx(1)
    letters = {"a", "b", "t", "h", "e", "o", "n", END}
    for before in (START, "a", "ß"):
        rest = 0x110000 - len(letters)
        whole = sum(language.letters(before, x) for x in letters)
        assert whole + rest * language.letters(before, "ü") == pytest.approx(1)


def test_a_bigram_is_interpolated_with_its_word_and_that_with_the_rest():
    model = Bigrams([["s", "a", "b"], ["s", "a", "a"]], lambda _: 0.125)
    one = (3 + 2 * 0.125) / (4 + 2)
    assert model("s", "a") == pytest.approx((2 + 1 * one) / (2 + 1))
    assert model("b", "a") == pytest.approx(one)  # nothing follows b
    assert model("a", "c") == pytest.approx((0 + 2 * (2 * 0.125 / 6)) / (2 + 2))


def test_a_loss_is_of_the_words_and_the_end_after_the_last_of_the_prompt(tmp_path):
    language = Language([("the", "a b")])
    steps = itertools.pairwise(["the", "a", "b", END])
    expected = -sum(math.log(language.words(x, y)) for x, y in steps)
    assert language.loss("of the", "a  b") == pytest.approx(expected)
    assert language.loss("of the", "a zebra") > language.loss("of the", "a the") > expected
    rows = texts({"text": ["the"], "target": ["a b"]})
    found, scorer = trained("generation", "auto", tmp_path, rows)
    (said,) = values(found, scorer, [{"text": "of the", "target": "a b"}])
    assert said == {"text": "a b", "loss": pytest.approx(expected), "words": 2}
    assert values(found, scorer, [{"text": "of"}])[0]["loss"] is None


def test_a_phrase_near_the_words_of_the_question_answers():
    def asked(text: str, question: str, answer: str) -> dict:
        answers = [{"start": text.index(answer), "text": answer}] if answer else []
        return {"id": text, "text": text, "question": question, "answers": answers}

    rows = [
        asked(f"The {a} was made in {year}. {who} made it.", f"When was the {a} made?", str(year))
        for a, year, who in (("view", 1990, "Ann"), ("page", 1985, "Bo"), ("cache", 2001, "Cy"))
    ]
    rows += [asked("The model is large. It was new.", "Who wrote the user guide?", "")]
    made = NearestPhrase.fit(material("question_answering", rows), 1.0)
    item = asked(
        "Eve saw 12 cats. The query was made in 1970. Eve left.", "When was the query made?", ""
    )
    (raw,) = made.raws([item])
    start, end = (int(place) for place in raw[0, :2])
    assert item["text"][start:end] == "1970"
    assert raw[:, 2].argmax() == 0  # it is surer than of no answer
    (other,) = made.raws([asked("The cat sat.", "Who wrote the documentation of the filter?", "")])
    assert other[other[:, 2].argmax(), 0] == -1


def test_phrases_that_may_answer_lie_in_one_sentence_and_say_nothing_of_the_question():
    read = Words("A big cat. It ran, fast", "did the cat run")
    assert [read.text[read.bounds[a][0] : read.bounds[b - 1][1]] for a, b in read.phrases] == [
        *("A", "A big", "big", "It", "It ran", "ran", "fast")
    ]
    assert read.sentences.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_passages_are_found_by_rare_words_even_unseen_ones(tmp_path):
    found, scorer = trained("retrieval", "nearest", tmp_path)
    items = texts(
        {
            "text": ["the zebra option", "the lion option"],
            "target": ["documentation of the option lion", "documentation of the option zebra"],
        }
    )
    assert values(found, scorer, items) == [2, 2]
    assert values(found, scorer, [items[0], items[1] | {"text": "a lion"}]) == [2, 2]
    right = [items[0] | {"target": items[1]["target"]}, items[1] | {"target": items[0]["target"]}]
    assert values(found, scorer, right) == [1, 1]
