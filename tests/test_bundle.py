"""A bundle: the winner whole, with card and lineage, and nothing that runs when it is loaded."""

import pickle
from pathlib import Path

import pytest
import yaml

from steps.bundle import USES, card, main, refuse_code
from steps.core.entry import StepError
from steps.core.files import digest, read_json
from steps.judge.values import REFERENCES
from steps.transfer.checkpoints import load_predictor
from tests import tiny_project
from tests.tiny_project import STRONG, TASK, WEAK

BUNDLE = Path("bundles") / TASK


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        tiny_project.make({"baseline": WEAK, "good": STRONG})
        yield Path.cwd()


@pytest.fixture(autouse=True)
def _inside(project, monkeypatch):
    monkeypatch.chdir(project)


def again(out: str) -> Path:
    """Run the stage once more, into another folder."""
    folders = [Path("comparisons") / TASK, Path("data/splits") / TASK, Path("starts")]
    main(TASK, *folders, Path("candidates") / TASK, Path(out))
    return Path(out)


def test_the_bundle_is_of_the_winner_and_answers_without_a_pickle():
    about = read_json(BUNDLE / "bundle.json")
    assert (about["recipe"], about["seed"]) == ("good", 1)
    assert about["labels"] == ["doc", "feature", "fix"]
    said = load_predictor(BUNDLE).predict(["fixed a crash in the cache", "documentation of it"])
    assert [answer["label"] for answer in said] == ["fix", "doc"]


def test_the_same_winner_gives_the_same_bytes():
    assert digest(again("again")) == digest(BUNDLE)


def test_lineage_names_the_content_it_was_made_from(tmp_path):
    before = read_json(BUNDLE / "lineage.json")
    assert set(before["sha256"]) == {"start", "candidate", "splits", "comparison"}
    assert before["sha256"]["candidate"] == digest(Path("candidates") / TASK / "good")


def test_the_card_says_what_a_reader_must_know():
    card = (BUNDLE / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    known = yaml.safe_load(front)
    assert known["pipeline_tag"] == "text-classification"
    assert known["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(1.0)
    for heading in ("Intended use", "Training", "Results", "Slices", "Limits", "How to load"):
        assert f"## {heading}" in body
    assert "| good (winner) | 1.000 | [1.000, 1.000] | 0.000 |" in body
    assert "Against the baseline: +0.4" in body
    assert f"models:/{TASK}@champion" in body


@pytest.mark.parametrize("kind", USES)
def test_the_card_of_every_type_says_what_it_does_and_how_it_is_asked(kind):
    fields = {"pairs": ["text", "pair"], "question_answering": ["question", "text"]}
    about = read_json(BUNDLE / "bundle.json")
    about |= {"type": kind, "inputs": fields.get(kind, ["text"]), "labels": []}
    comparison = read_json(Path("comparisons") / TASK / "comparison.json") | {
        "lower_is_better": True
    }
    text = card(about, comparison, read_json(Path("data/splits") / TASK / "task.json"))
    assert f"It {USES[kind]}." in text
    assert "labels above" not in text
    assert "(lower is better)" in text
    assert "Against the baseline (+ is a gain): +0.4" in text
    asked = '{"question": "a question", "text": "a text"}'
    assert (f"predict([{asked}])" in text) == (kind == "question_answering")


def test_the_card_knows_every_type_that_can_be_compared():
    assert USES.keys() == REFERENCES.keys()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("head.pkl", b"", "not known to be safe"),
        ("training_args.bin", b"", "not known to be safe"),
        ("modeling.py", b"", "not known to be safe"),
        ("weights", b"", "no suffix"),
        ("config.json", pickle.dumps({}), "a pickle by its first bytes"),
        ("config.json", b"PK\x03\x04", "an archive"),
    ],
)
def test_a_file_that_could_run_code_is_refused(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StepError, match=why) as said:
        refuse_code(tmp_path)
    assert name in str(said.value)


def test_a_pickle_among_the_weights_stops_the_stage_and_leaves_no_bundle():
    bad = Path("candidates") / TASK / "good/seed-1/optimizer.pt"
    bad.write_bytes(pickle.dumps({}))
    with pytest.raises(StepError, match=r"optimizer\.pt"):
        again("stopped")
    bad.unlink()
    assert not Path("stopped").exists()
