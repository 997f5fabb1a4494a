"""A bundle that transformers loads by itself says there what it says here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steps.core.files import read_json, write_json
from steps.tasks import task_type
from steps.transfer import loop
from steps.transfer.checkpoints import load_predictor, save_bundle_model
from steps.transfer.exported import TEXTS, WORDS, export
from steps.transfer.networks import encoder
from steps.transfer.strategies import full, strategy
from tests.families import FAMILIES, make_family
from tests.trained import material

KNOBS = {"start": "none", "learning_rate": 2e-3, "epochs": 4, "batch_tokens": 64}
ASK = """
import json, sys
from transformers import pipeline
task, folder, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
more = {"ignore_labels": []} if task == "token-classification" else {"top_k": None}
said = pipeline(task, model=folder, **more)(texts)
print(json.dumps(said, default=float))
"""
PAIRS = {"text": "added the cache", "text_pair": "the cache"}


def bundled(folder: Path, base: Path, kind: str, name: str = "full", **knobs: Any) -> Path:
    """Train one seed of a strategy on a few examples and put it into a bundle."""
    given, module = material(kind, folder / "room", 24), strategy(name)
    settings = module.Settings(strategy=name, **KNOBS | knobs)
    module.fit(given, settings, base, 1, folder / "candidate/seed-1")
    about = {"type": kind, "strategy": name, "classes": given.classes, "weights": {"1": "seed-1"}}
    write_json(folder / "candidate/candidate.json", about)
    save_bundle_model(base, folder / "candidate", 1, folder / "bundle")
    return folder / "bundle"


def asked(task: str, bundle: Path, texts: list[Any]) -> list[Any]:
    """What a pipeline of another process says, offline, in another folder."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", ASK, task, str(bundle.absolute()), json.dumps(texts)]
    done = subprocess.run(
        command, cwd="/", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def texts_of(kind: str, tmp_path: Path) -> list[str]:
    return [example["text"] for example in material(kind, tmp_path / "more", 24).examples]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {kind: make_family(kind, folder / kind) for kind in FAMILIES}


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pipelines compute: in bfloat16 a label near a tie may be another."""
    for module in (loop, encoder):
        monkeypatch.setattr(module, "half", lambda where: None)


@pytest.mark.parametrize("family", sorted((WORDS.keys() & FAMILIES.keys()) - {"qwen2"}))
def test_a_pipeline_gives_each_word_the_same_entity(family, bases, tmp_path):
    bundle = bundled(tmp_path, bases[family], "tokens")
    before = load_predictor(bundle).predict(texts := texts_of("tokens", tmp_path))
    assert export(bundle, 1.0)
    assert load_predictor(bundle).predict(texts) == before
    assert any(answer["entities"] for answer in before)
    for text, answer, said in zip(texts, before, here("token", bundle, texts), strict=True):
        assert spans(text, said, last=family in ("gpt2", "llama", "mistral", "qwen2")) == [
            (one["start"], one["end"], one["label"]) for one in answer["entities"]
        ]


def here(kind: str, bundle: Path, texts: list[Any]) -> list[Any]:
    """What a pipeline of this process says: each start of another takes seconds."""
    from transformers import pipeline

    more: dict[str, Any] = {"ignore_labels": []} if kind == "token" else {"top_k": None}
    said: list[Any] = pipeline(f"{kind}-classification", model=str(bundle), **more)(texts)
    return said


def spans(text: str, said: list[dict[str, Any]], last: bool) -> list[tuple[int, int, str]]:
    """The entities of a text, by the tag of each word's first token (or last)."""
    kind, found = task_type("tokens"), []
    tags = []
    for start, end in kind.units({"text": text}):
        inside = [t["entity"] for t in said if start <= t["start"] and t["end"] <= end]
        tags.append((start, end, inside[-1 if last else 0]))
    for at, (start, end, tag) in enumerate(tags):
        goes_on = at and tag[0] == "I" and tags[at - 1][2][2:] == tag[2:]
        if goes_on:
            found[-1] = (found[-1][0], end, tag[2:])
        elif tag != "O":
            found.append((start, end, tag[2:]))
    return found


@pytest.mark.parametrize("family", sorted(TEXTS.keys() & FAMILIES.keys()))
@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_a_pipeline_gives_each_text_the_same_answer(family, kind, bases, tmp_path):
    bundle = bundled(tmp_path, bases[family], kind, pooling="first")
    before = load_predictor(bundle).predictions(texts := texts_of(kind, tmp_path))
    assert export(bundle, 1.0)
    assert [one.value for one in load_predictor(bundle).predictions(texts)] == [
        one.value for one in before
    ]
    for one, said in zip(before, here("text", bundle, texts), strict=True):
        scores = {answer["label"]: answer["score"] for answer in said}
        assert scores.keys() == set(material(kind, tmp_path / "room", 24).classes)
        if kind == "classification":
            assert max(scores, key=lambda label: scores[label]) == one.value
        elif kind == "multilabel":
            assert sorted(label for label, score in scores.items() if score > 0.5) == one.value
        else:
            assert [*scores.values()] == pytest.approx([one.value], abs=0.01)


def test_probabilities_are_said_at_the_temperature_and_labels_stay(bases, tmp_path):
    bundle = bundled(tmp_path, bases["bert"], "classification", pooling="first")
    before = load_predictor(bundle).predict(texts := texts_of("classification", tmp_path))
    assert export(bundle, 2.0)
    assert load_predictor(bundle).predict(texts) == before  # which divides by it itself
    for one, said in zip(before, here("text", bundle, texts), strict=True):
        cooler = {label: share**0.5 for label, share in one["probabilities"].items()}
        assert said[0]["label"] == one["label"]
        expected = cooler[one["label"]] / sum(cooler.values())
        assert said[0]["score"] == pytest.approx(expected, abs=1e-3)


def test_another_process_loads_it_offline_from_another_folder(bases, tmp_path):
    bundle = bundled(tmp_path, bases["bert"], "pairs", pooling="first")
    predictor = load_predictor(bundle)
    assert export(bundle, 1.0)
    items = [{"text": PAIRS["text"], "pair": PAIRS["text_pair"]}]
    said = asked("text-classification", bundle, [PAIRS])
    best = max(said[0], key=lambda answer: answer["score"])
    assert best["label"] == predictor.predict(items)[0]["label"]


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("full", {"crf": True}),
        ("full", {"wide": True}),
        ("full", {"dropped_layers": 1}),
        ("full", {"pooling": "mean"}),
    ],
)
def test_what_transformers_has_no_head_for_is_left_as_it_is(name, knobs, bases, tmp_path):
    kind = "classification" if "pooling" in knobs else "tokens"
    bundle = bundled(tmp_path, bases["bert"], kind, name, **knobs)
    before = {file.name: file.read_bytes() for file in bundle.iterdir()}
    assert not export(bundle, 1.0)
    assert {file.name: file.read_bytes() for file in bundle.iterdir()} == before


def test_a_family_whose_head_is_another_is_left_as_it_is(bases, tmp_path):
    assert not export(bundled(tmp_path, bases["modernbert"], "tokens"), 1.0)


def test_a_bundle_says_in_its_configuration_what_its_labels_are(bases, tmp_path):
    bundle = bundled(tmp_path, bases["bert"], "classification", pooling="first")
    export(bundle, 1.0)
    config = read_json(bundle / "config.json")
    assert config["id2label"] == {"0": "doc", "1": "feature", "2": "fix"}
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert full.Settings(strategy="full", **KNOBS).pooling == "mean"
