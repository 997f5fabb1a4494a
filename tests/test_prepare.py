import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.core.params import Params, Recipe, load
from steps.finetune import finetune
from steps.prepare import prepare
from steps.transfer import networks
from steps.transfer.checkpoints import best_seed, load_best
from steps.transfer.networks.encoder import Encoder
from steps.transfer.networks.writer import Writer
from steps.transfer.strategies import full, require_other
from tests.families import make_family
from tests.tiny import EXAMPLES, make_base
from tests.trained import material

TRAINS = {"learning_rate": 5e-2, "batch_tokens": 64, "epochs": 1}
KNOBS = {
    "baseline": {"inverse_regularisation": 1.0},
    "features": {"inverse_regularisation": 1.0},
    "full": TRAINS,
    "lora": TRAINS,
}
FAMILIES = ("bert", "roberta", "gpt2", "xlnet", "t5", "bart", "marian")


def candidate(kind: str, name: str, start: Path, root: Path, **knobs: Any) -> Path:
    """Train a candidate of two seeds; only its own folder is left."""
    recipe = Recipe(strategy=name, start="data/raw/base", **KNOBS[name] | knobs)
    prepare("first", recipe, start, root / "start")
    given = material(kind, root / "room")
    about = {"task": "notes", "type": kind, "recipe": "first", "strategy": name}
    about |= {"start": recipe.start, "labels": given.type.labels(given.examples)}
    about |= {"max_tokens": 64, "seeds": [1, 2]}
    finetune(about, recipe, given, root / "start", root / "candidate")
    shutil.rmtree(root / "start")
    return root / "candidate"


def go_on(folder: Path, out: Path) -> Path:
    """Prepare a recipe that starts at a candidate."""
    recipe = Recipe(strategy="full", start="candidates/notes/first", **TRAINS)
    prepare("second", recipe, folder, out)
    return out


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_starts_with_what_another_s_encoder_has_learned(tmp_path, family):
    folder = candidate("tokens", "full", make_family(family, tmp_path / family), tmp_path)
    start = go_on(folder, tmp_path / "second")
    best = best_seed(read_json(folder / "candidate.json"))
    assert read_json(start / "start.json")["seed"] == best
    learned = networks.network("classes").load(folder, folder / f"seed-{best}").encoder
    expected, found = learned.model.state_dict(), Encoder(start).model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], part) for name, part in expected.items())
    given = material("classification", tmp_path / "other")
    settings = full.Settings(strategy="full", start="x", **TRAINS)
    full.fit(given, settings, start, 1, tmp_path / "out")


@pytest.mark.parametrize(("kind", "family"), [("translation", "t5"), ("generation", "gpt2")])
def test_of_a_model_that_writes_all_is_taken(tmp_path, kind, family):
    folder = candidate(kind, "full", make_family(family, tmp_path / family), tmp_path)
    start = go_on(folder, tmp_path / "second")
    weights = folder / f"seed-{best_seed(read_json(folder / 'candidate.json'))}"
    expected, found = Writer(folder, weights).model, Writer(start).model
    for one, other in zip(expected.parameters(), found.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_encoder_alone_does_not_write(tmp_path):
    """Of an encoder-decoder a candidate that classifies has kept the encoder."""
    folder = candidate("classification", "full", make_family("t5", tmp_path / "t5"), tmp_path)
    with pytest.raises(StepError, match=r"lacks .* weights of a model that writes"):
        Writer(go_on(folder, tmp_path / "second"))


def test_a_candidate_is_read_by_its_folder_alone(base, tmp_path):
    folder = candidate("classification", "lora", base, tmp_path)
    items = EXAMPLES["classification"](8)
    assert len(load_best(folder, 32).predictions(items)) == 8
    names = {file.name for file in folder.iterdir()}
    assert names == {"candidate.json", "config.json", "tokenizer.json", "seed-1", "seed-2"}


def test_the_seed_that_is_best_on_validation_is_taken():
    about: dict[str, Any] = {"seeds": [1, 2, 3]}
    assert best_seed(about | {"validation": {"1": 0.2, "2": 0.5, "3": 0.5}}) == 2
    assert best_seed(about | {"validation": {"1": -0.2, "2": -0.1, "3": None}}) == 2
    assert best_seed(about | {"validation": {"1": None, "2": None, "3": None}}) == 1


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("features", {}, "whose encoder never moved; start at what it started at, data/raw/base"),
        ("baseline", {}, "of strategy baseline, which has no encoder; take full"),
        ("full", {"dropped_layers": 1}, "has dropped 1 layers, and config.json tells of all"),
    ],
)
def test_a_candidate_without_a_whole_encoder_of_its_own_is_one_line(
    base, tmp_path, name, knobs, said
):
    folder = candidate("classification", name, base, tmp_path, **knobs)
    with pytest.raises(StepError, match=said):
        go_on(folder, tmp_path / "second")


def test_a_candidate_that_was_left_out_is_one_line(tmp_path):
    write_json(tmp_path / "candidate.json", {"left_out": "it is for entities", "start": "x"})
    with pytest.raises(StepError, match=r"was left out \(it is for entities\); start at another"):
        go_on(tmp_path, tmp_path / "second")
    with pytest.raises(StepError, match=r"was left out \(it is for entities\); name another"):
        load_best(tmp_path, 32)


# What recipes say of each other.

PARAMS = yaml.safe_load(Path("params.yaml").read_text())
SELFTRAIN = {"strategy": "selftrain", "start": "data/raw/minilm", "pool": "pydocs"}
AROUND = {"task": "changes", "start": "data/raw/minilm"}


def declared(tmp_path: Path, recipes: dict[str, Any], **sections: Any) -> Params:
    found = PARAMS | sections | {"recipes": PARAMS["recipes"] | recipes}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(found))
    return load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("without", "said"),
    [
        (None, "name one of the same start, `without: RECIPE`"),
        ("full_adapted", "full_adapted starts at models/dapt, not at data/raw/minilm"),
    ],
)
def test_what_adds_examples_is_compared_with_the_same_without(tmp_path, without, said):
    params = declared(tmp_path, {"mine": SELFTRAIN | {"without": without}})
    with pytest.raises(StepError, match=said):
        require_other("mine", params)


def test_a_start_with_translations_is_compared_with_the_start_without(tmp_path):
    mine = {"strategy": "augment", "start": "augmented/around", "without": "full"}
    translators = {"words": PARAMS["tasks"]["changes"] | {"type": "translation"}}
    there = {"forth": "candidates/words/full", "back": "candidates/words/full"}
    sections = {"tasks": PARAMS["tasks"] | translators, "augmentations": {"around": AROUND | there}}
    params = declared(tmp_path, {"mine": mine, "full": PARAMS["recipes"]["full"]}, **sections)
    require_other("mine", params)
    require_other("full", params)


@pytest.mark.parametrize(
    ("recipe", "around", "said"),
    [
        ({"start": "candidates/entities/fulll"}, {}, "'fulll' (did you mean 'full'?)"),
        ({"start": "candidates/entity/full"}, {}, "'entity'"),
        ({"start": "candidates/full"}, {}, "expected a candidate, candidates/TASK/RECIPE"),
        ({"start": "augmented/arond"}, {}, "'arond' (did you mean 'around'?)"),
        ({"without": "ful"}, {}, "'ful' (did you mean 'full'?)"),
        ({"tasks": ["changez"]}, {}, "'changez' (did you mean 'changes'?)"),
        ({}, {"task": "changez"}, "'changez'"),
        (
            {},
            {"forth": "candidates/changes/full"},
            "classification; expected a translation",
        ),
        ({}, {"forth": "models/dapt"}, "is 'models/dapt'; expected a candidate"),
        ({}, {"fort": "x"}, "augmentations.around.fort is not a key (did you mean 'forth'?)"),
    ],
)
def test_a_name_that_is_not_there_is_one_line(tmp_path, recipe, around, said):
    mine = PARAMS["recipes"]["full"] | recipe
    words = PARAMS["tasks"]["changes"] | {"type": "translation"}
    there = {"forth": "candidates/words/full", "back": "candidates/words/full"} | around
    sections = {"tasks": PARAMS["tasks"] | {"words": words}}
    with pytest.raises(StepError) as error:
        declared(tmp_path, {"mine": mine}, **sections, augmentations={"around": AROUND | there})
    assert said in str(error.value)


def test_a_strategy_s_code_is_named_with_what_it_is_built_on(base, tmp_path, monkeypatch):
    """So a candidate is trained again when either changes."""
    codes = {}
    for name in ("full", "gradual"):
        prepare("r", Recipe(strategy=name, start="x", **TRAINS), base, tmp_path / name)
        codes[name] = read_json(tmp_path / name / "start.json")["code"]
    from steps.transfer.strategies import gradual

    monkeypatch.setattr(gradual, "BUILT_ON", ("full",), raising=False)
    prepare("r", Recipe(strategy="gradual", start="x", **TRAINS), base, tmp_path / "both")
    assert read_json(tmp_path / "both" / "start.json")["code"] not in codes.values()
    assert codes["full"] != codes["gradual"]
