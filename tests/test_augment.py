import random
import shutil
from pathlib import Path

import pytest

from steps import augment as stage
from steps.core.entry import StepError
from steps.core.files import digest, read_json, read_rows, write_json, write_rows
from steps.core.params import Recipe, load
from steps.corpora.matching import Matcher, Rules
from steps.corpora.schemas import SCHEMAS
from steps.finetune import finetune
from steps.prepare import prepare
from steps.tasks import Prediction, task_type
from steps.transfer.edits import Editor, changed, moved
from steps.transfer.packing import read_tokenizer
from steps.transfer.strategies import Supplies, augment, full
from steps.transfer.synonyms import near_words, whole_words
from tests.families import make_family
from tests.tiny import EXAMPLES, WORDS, make_base
from tests.trained import answers, material

KNOBS = {"learning_rate": 5e-3, "batch_tokens": 128, "epochs": 1}
ALL = ["synonyms", "insertions", "swaps", "deletions"]
RULES = Rules(8, 0.5, 0.8)
FOLDED = [word.casefold() for word in WORDS]
NEAR = {word: FOLDED[n : n + 2] for n, word in enumerate(FOLDED[2:])}


def settings(start: Path | str = "x", **knobs) -> augment.Settings:
    own = {"start": str(start), "copies": 2, "edits": ALL}
    return augment.Settings(strategy="augment", **KNOBS | own | knobs)


def editor(kind: str, strength: float = 0.2, seed: int = 1) -> Editor:
    return Editor(task_type(kind), NEAR, strength, seed)


def copies(kind: str, edits: list[str], times: int = 4, **knobs) -> list[tuple[dict, dict]]:
    """Each copy beside what it was made of."""
    examples = EXAMPLES[kind](40)
    own = {example["id"]: example for example in examples}
    found = editor(kind, **knobs).copies(examples, edits, times)
    return [(own[copy["id"].split("+")[0]], copy) for copy in found]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("kind", ["classification", "pairs", "multilabel", "regression"])
@pytest.mark.parametrize("edit", ALL)
def test_an_edit_changes_words_and_nothing_that_is_said_of_the_text(kind, edit):
    found = copies(kind, [edit])
    assert len({copy["id"] for _, copy in found}) == len(found) > 20
    for own, copy in found:
        assert copy["text"] != own["text"] or copy.get("pair") != own.get("pair")
        same = own.keys() - {"id", *task_type(kind).INPUTS}
        assert {name: copy[name] for name in same} == {name: own[name] for name in same}


def test_each_edit_does_what_it_is_named_for():
    def words(text):
        return text.casefold().split()

    for own, copy in copies("classification", ["swaps"]):
        assert sorted(words(copy["text"])) == sorted(words(own["text"]))
    for own, copy in copies("classification", ["deletions"]):
        assert set(words(copy["text"])) <= set(words(own["text"]))
        assert len(words(copy["text"])) < len(words(own["text"]))
    for own, copy in copies("classification", ["insertions"]):
        assert len(words(copy["text"])) > len(words(own["text"]))
    for own, copy in copies("classification", ["synonyms"]):
        pairs = zip(words(own["text"]), words(copy["text"]), strict=True)
        assert all(a == b or b in NEAR[a] for a, b in pairs)


def test_strength_is_the_share_of_words_and_never_all_are_left_out():
    text = " ".join(f"w{n}" for n in range(40))
    one = [{"id": "1", "text": text, "label": "a"}]
    (copy,) = editor("classification", 0.1).copies(one, ["deletions"], 1)
    assert len(copy["text"].split()) == 36
    for short in ("one", "one two"):
        made = editor("classification", 0.5).copies([one[0] | {"text": short}], ["deletions"], 3)
        assert all(copy["text"] in ("one", "two") for copy in made)


@pytest.mark.parametrize("edit", ["synonyms", "deletions"])
def test_spans_stay_on_their_words(edit):
    found = copies("tokens", [edit], strength=0.5)
    assert len(found) > 20
    for own, copy in found:
        marked = [(own["text"][s["start"] : s["end"]], s["label"]) for s in own["spans"]]
        assert [(copy["text"][s["start"] : s["end"]], s["label"]) for s in copy["spans"]] == marked
        assert copy["text"] != own["text"]


def test_spans_stay_on_their_words_in_any_text():
    """Random texts and spans, odd spaces and signs among them."""
    chance = random.Random(5)
    seen = 0
    for number in range(200):
        words = [
            chance.choice([*WORDS, "a,", "(b", "—", "ß"]) for _ in range(chance.randint(1, 12))
        ]
        text = "".join(word + chance.choice([" ", "  ", "\n", "-"]) for word in words)
        cuts = sorted(chance.sample(range(len(text) + 1), min(4, len(text)) // 2 * 2))
        spans = [
            {"start": a, "end": b, "label": "L"} for a, b in zip(cuts[::2], cuts[1::2], strict=True)
        ]
        example = {"id": str(number), "text": text, "spans": spans}
        for copy in editor("tokens", 0.5, number).copies([example], ["deletions", "synonyms"], 4):
            left = [text[s["start"] : s["end"]] for s in spans]
            assert [copy["text"][s["start"] : s["end"]] for s in copy["spans"]] == left
            seen += 1
    assert seen > 100


def test_words_put_in_or_swapped_are_no_edits_of_tagged_words():
    assert copies("tokens", ["swaps", "insertions"]) == []


def test_changes_are_applied_together():
    changes = [(0, 3, "a"), (4, 4, "new "), (8, 12, "")]
    assert changed("one two the end", changes) == "a new two end"
    assert moved([{"start": 4, "end": 7}], changes[:1]) == [{"start": 2, "end": 5}]


def test_copies_are_the_same_for_a_seed_and_each_another_text():
    found = [copies("classification", ALL, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    texts = [copy["text"] for _, copy in found[0]]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_words_are_near_whose_embeddings_are(tmp_path, family):
    """Two words of the tokenizer are given the same vector."""
    from safetensors.torch import load_file, save_file

    start = make_family(family, tmp_path / family)
    tokenizer = read_tokenizer(start)
    words, numbers = whole_words(tokenizer, tokenizer.get_vocab_size())
    assert {"crash", "error", "the"} <= set(words)
    assert "in" not in words
    weights = load_file(start / "model.safetensors")
    name = next(
        n for n in weights if n.endswith(("word_embeddings.weight", "wte.weight", "shared.weight"))
    )
    of = dict(zip(words, numbers, strict=True))
    weights[name][of["crash"]] = weights[name][of["error"]] * 2
    save_file(weights, start / "model.safetensors", metadata={"format": "pt"})
    given = material("classification", tmp_path)
    given.examples[0]["text"] += " Crash unheard"
    near = near_words(start, given)
    assert near["crash"][0] == "error"
    assert "unheard" not in near
    assert all(word not in others for word, others in near.items())


@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_a_candidate_learns_from_the_copies_too(base, tmp_path, kind):
    given = material(kind, tmp_path)
    knobs = settings(strength=0.3)
    found = augment.fit(given, knobs, base, 1, tmp_path / "out")
    assert found["edited"] > 4
    assert found["translated"] == 0
    assert len(answers(augment, given, base, tmp_path / "out")) == 8
    alone = full.Settings(strategy="full", start="x", **KNOBS)
    full.fit(material(kind, tmp_path / "b"), alone, base, 1, tmp_path / "alone")
    assert digest(tmp_path / "out") != digest(tmp_path / "alone")


def test_no_edited_text_overlaps_one_that_is_held_out():
    examples = EXAMPLES["classification"](80)
    matcher = Matcher([example["text"] for example in examples[40:]], RULES)
    hits = matcher.first([example["text"] for example in examples[:40]])
    train = [example for example, hit in zip(examples[:40], hits, strict=True) if hit is None]
    found = editor("classification", 0.3).copies(train, ALL, 4)
    assert len(found) > 40
    held = {example["text"] for example in examples[40:]}
    assert not [copy for copy in found if copy["text"] in held]


def test_a_recipe_that_augments_by_nothing_is_one_line(base, tmp_path):
    supplies = Supplies(tmp_path, tmp_path, lambda texts: [])
    with pytest.raises(StepError, match="copies is 2 and edits has 0; expected both or none"):
        augment.gather(settings(base, edits=[]), supplies, tmp_path)
    with pytest.raises(StepError, match=r"copies is 0, and .*augmented.parquet does not exist"):
        augment.gather(settings(base, edits=[], copies=0), supplies, tmp_path)
    given = material("tokens", tmp_path)
    with pytest.raises(StepError, match="no text is augmented; expected words outside spans"):
        augment.fit(given, settings(edits=["swaps"]), base, 1, tmp_path / "out")


# The stage: there and back by two candidates.


class Translator:
    """Says what a dict says, or the text itself."""

    def __init__(self, said: dict[str, str]) -> None:
        self.said, self.asked = said, []

    def predictions(self, texts: list[str]) -> list[Prediction]:
        self.asked += texts
        return [Prediction(self.said.get(text, text), 1.0, {}) for text in texts]


def test_what_comes_back_as_it_was_or_is_held_out_is_left_out():
    rows = [{"id": str(n), "text": text, "label": "a"} for n, text in enumerate("abcdee")]
    held_out = [{"text": "the very words of a test"}, {"text": "quite another text"}]
    forth = Translator(dict(zip("abcde", "ABCDE", strict=True)))
    back = Translator(
        {"A": "a new a", "B": " B ", "C": "The very words of a TEST!", "D": "", "E": "e!"}
    )
    around = stage.translator(forth, back)
    found, counts = stage.augment(rows, held_out, ("text",), around, RULES)
    assert [(row["id"], row["text"], row["label"]) for row in found] == [
        ("0", "a new a", "a"),
        ("4", "e!", "a"),
    ]
    assert counts == {"read": 6, "same": 3, "held_out": 1, "kept": 2}
    assert forth.asked == list("abcde")


def test_both_texts_of_a_pair_are_translated():
    rows = [{"id": "1", "text": "a", "pair": "b", "label": "x"}]
    around = stage.translator(Translator({}), Translator({"a": "new a", "b": "new b"}))
    found, _ = stage.augment(rows, [], ("text", "pair"), around, RULES)
    assert (found[0]["text"], found[0]["pair"]) == ("new a", "new b")


def translate(root: Path, name: str) -> Path:
    """A translation candidate, by hand: what `finetune` leaves."""
    given = material("translation", root / name / "room")
    start = make_family("t5", root / name / "start")
    recipe = Recipe(strategy="full", start="x", **KNOBS)
    about = {"task": "words", "type": "translation", "recipe": name, "strategy": "full"}
    about |= {"start": "x", "labels": [], "max_tokens": 32, "seeds": [1, 2]}
    finetune(about, recipe, given, start, root / "candidates" / "words" / name)
    return root / "candidates" / "words" / name


def declare(task: str, monkeypatch) -> None:
    """Let params.yaml name an augmentation."""
    params = load(Path("params.yaml"))
    own = {"around": {"task": task, "start": "b", "forth": "f", "back": "k"}}
    params = type(params).model_validate(params.model_dump() | {"augmentations": own})
    monkeypatch.setattr(stage, "load", lambda: params)


def test_the_stage_makes_a_start_that_a_recipe_augments_from(tmp_path, monkeypatch, base):
    """By real candidates, which are read from their own folders alone."""
    declare("notes", monkeypatch)
    folders = [translate(tmp_path, name) for name in ("forth", "back")]
    for name in ("forth", "back"):
        shutil.rmtree(tmp_path / name)
    splits = tmp_path / "splits" / "notes"
    rows = [{"split": "", **row} for row in EXAMPLES["classification"](30)]
    for part, some in (("train", rows[:20]), ("validation", rows[20:24]), ("test", rows[24:])):
        write_rows(splits / f"{part}.parquet", some, SCHEMAS["classification"])
    write_json(splits / "task.json", {"type": "classification", "labels": []})
    out = tmp_path / "augmented" / "around"
    stage.main("around", base, *folders, splits, out)
    about = read_json(out / "augmented.json")
    assert (about["task"], about["counts"]["read"]) == ("notes", 20)
    found = read_rows(out / "augmented.parquet")
    assert {row["id"] for row in found} <= {row["id"] for row in rows[:20]}
    recipe = Recipe(strategy="augment", start=str(out), copies=0, edits=[], **KNOBS)
    prepare("mine", recipe, out, tmp_path / "start", Supplies(splits, splits, lambda texts: []))
    given = material("classification", tmp_path / "room", 12, name="notes")
    translated = augment.read_translated(given, tmp_path / "start")
    assert [row["id"] for row in translated] == [row["id"] for row in found if row["id"] < "0012"]
    other = material("classification", tmp_path / "room", 12, name="other")
    assert augment.read_translated(other, tmp_path / "start") == []


def test_a_task_of_words_is_not_translated(tmp_path, monkeypatch):
    write_json(tmp_path / "task.json", {"type": "tokens", "labels": []})
    declare("entities", monkeypatch)
    with pytest.raises(StepError, match="entities is of type tokens; only what is said of a whole"):
        stage.main("around", tmp_path, tmp_path, tmp_path, tmp_path, tmp_path / "out")
