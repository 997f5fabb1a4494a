"""The promises of a task type and of a strategy, held over both whole dicts."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from steps.core.entry import StepError
from steps.core.files import digest, read_json, write_json
from steps.core.params import Recipe
from steps.finetune import finetune
from steps.prepare import prepare
from steps.tasks import TASKS, task_type
from steps.transfer.checkpoints import load_candidate, load_predictor, save_bundle_model
from steps.transfer.strategies import STRATEGIES, Material, strategy
from tests.tiny import EXAMPLES, make_base

KNOBS = {
    "baseline": {"inverse_regularisation": 100.0},
    "features": {"inverse_regularisation": 1e4},
    "full": {
        "learning_rate": 5e-3,
        "epochs": 60,
        "batch_size": 4,
        "warmup": 0.1,
        "weight_decay": 0.0,
        "dropout": 0.0,
    },
}
CASES = [(kind, name) for kind in TASKS for name in STRATEGIES]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def train(kind: str, name: str, base: Path, out: Path, seeds: tuple[int, ...] = (1,)) -> Path:
    """Prepare and fine-tune on eight examples; return the candidate's folder."""
    recipe = Recipe(strategy=name, start=str(base), **KNOBS[name])
    prepare(name, recipe, base, out / "start")
    module, examples = task_type(kind), EXAMPLES[kind](8)
    labels = module.labels(examples)
    about = {
        "task": "t",
        "type": kind,
        "recipe": name,
        "strategy": name,
        "start": str(base),
        "labels": labels,
        "max_tokens": 64,
        "seeds": list(seeds),
    }
    material = Material(module, module.classes(labels), examples, 64)
    finetune(about, recipe, material, out / "start", out / "candidate")
    return out


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> dict[tuple[str, str], Path]:
    root = tmp_path_factory.mktemp("candidates")
    return {
        (kind, name): train(kind, name, base, root / kind / name, (1, 2)) for kind, name in CASES
    }


def predictor(folder: Path, batch: int = 32):
    return load_candidate(folder / "start", folder / "candidate", "seed-1", batch)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_it_learns_its_own_eight_examples_exactly(trained, kind, name):
    examples = EXAMPLES[kind](8)
    said = predictor(trained[kind, name]).predictions([example["text"] for example in examples])
    reference = task_type(kind).reference
    assert [item.value for item in said] == [reference(example) for example in examples]
    assert all(0 < item.confidence <= 1 + 1e-6 for item in said)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_prediction_does_not_depend_on_its_batch(trained, kind, name):
    texts = [example["text"] for example in EXAMPLES[kind](11)] + ["a", "view " * 200, "", "…"]
    folder = trained[kind, name]
    together = predictor(folder).predictions(texts)
    one_by_one = predictor(folder, batch=1).predictions(texts)
    assert [item.value for item in together] == [item.value for item in one_by_one]
    for left, right in zip(together, one_by_one, strict=True):
        assert left.confidence == pytest.approx(right.confidence, abs=1e-4)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_training_again_gives_the_same_bytes(base, trained, tmp_path, kind, name):
    again = train(kind, name, base, tmp_path, (1, 2))
    assert digest(again / "candidate") == digest(trained[kind, name] / "candidate")


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_bundle_answers_as_its_candidate_did_and_holds_no_pickle(trained, tmp_path, kind, name):
    folder = trained[kind, name]
    save_bundle_model(folder / "start", folder / "candidate", 1, tmp_path / "bundle")
    texts = [example["text"] for example in EXAMPLES[kind](8)]
    assert load_predictor(tmp_path / "bundle").predict(texts) == predictor(folder).predict(texts)
    kinds = {path.suffix for path in (tmp_path / "bundle").iterdir()}
    assert kinds <= {".json", ".safetensors", ".txt"}


def test_seeds_differ_where_chance_has_a_part(trained):
    folder = trained["classification", "full"] / "candidate"
    assert digest(folder / "seed-1") != digest(folder / "seed-2")
    weights = read_json(trained["classification", "features"] / "candidate/candidate.json")
    assert weights["weights"] == {"1": "seed-1", "2": "seed-1"}


def test_every_recipe_of_the_demo_is_one_its_strategy_takes():
    params = yaml.safe_load(Path("params.yaml").read_text())
    for recipe in params["recipes"].values():
        strategy(recipe["strategy"]).Settings.model_validate(recipe)


def test_a_misspelt_knob_of_a_recipe_is_one_line(base, tmp_path):
    recipe = Recipe(strategy="baseline", start="x", inverse_regularization=1.0)
    with pytest.raises(StepError, match="did you mean 'inverse_regularisation'"):
        prepare("mine", recipe, base, tmp_path)


def test_a_start_that_is_no_checkpoint_is_one_line(tmp_path):
    (tmp_path / "start").mkdir()
    write_json(tmp_path / "start" / "config.json", {})
    recipe = Recipe(strategy="features", start="x", inverse_regularisation=1.0)
    with pytest.raises(StepError, match=r"start has no model\.safetensors; it has: config\.json"):
        prepare("mine", recipe, tmp_path / "start", tmp_path / "out")


@pytest.mark.parametrize("kind", TASKS)
def test_targets_and_features_have_one_entry_a_unit(kind):
    module, examples = task_type(kind), EXAMPLES[kind](9)
    classes = module.classes(module.labels(examples))
    for example in examples:
        units = len(module.units(example["text"]))
        assert (
            len(module.targets(example, classes)) == len(module.features(example["text"])) == units
        )


@pytest.mark.parametrize("kind", TASKS)
def test_decoding_the_targets_gives_the_reference(kind):
    module, examples = task_type(kind), EXAMPLES[kind](9)
    classes = module.classes(module.labels(examples))
    for example in examples:
        sure = np.eye(len(classes))[module.targets(example, classes)]
        assert module.decode(example["text"], sure, classes).value == module.reference(example)
