"""The promises of a strategy, held over the types of tasks that it is for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.core.entry import StepError
from steps.core.files import digest, read_json, write_json
from steps.core.params import Recipe
from steps.finetune import finetune
from steps.prepare import prepare
from steps.tasks import TASKS, task_type
from steps.transfer.checkpoints import load_candidate, load_predictor, save_bundle_model
from steps.transfer.strategies import STRATEGIES, strategy, unable
from tests.families import make_family
from tests.tiny import EXAMPLES
from tests.trained import material, near, odd, right

STEPS = {"learning_rate": 5e-3, "epochs": 20, "batch_tokens": 64, "weight_decay": 0.0}
KNOBS: dict[str, dict[str, Any]] = {
    "baseline": {"inverse_regularisation": 100.0},
    "features": {"inverse_regularisation": 1e4},
    "full": STEPS,
    "gradual": STEPS,
    "lora": STEPS | {"learning_rate": 1e-2, "epochs": 40},
    "fewshot": {"learning_rate": 2e-3, "epochs": 3, "inverse_regularisation": 10.0},
    "augment": STEPS | {"copies": 1, "edits": ["synonyms", "deletions"]},
}
SLOW, MORE = {"regression", "retrieval"}, {"epochs": 80}
ELSEWHERE = {"static", "multitask", "selftrain"}  # they read more than a start: files of their own
WRITTEN = {
    "translation",
    "summarisation",
    "generation",
}  # tests/test_transfer.py, by models that can
SELDOM = {("retrieval", "gradual"), ("retrieval", "lora")}  # they learn long
CASES = [
    pytest.param(kind, name, marks=[pytest.mark.slow] * ((kind, name) in SELDOM))
    for kind in TASKS
    for name in KNOBS
    if kind not in WRITTEN
    and not unable(strategy(name), task_type(kind))
    and (kind, name) != ("tags", "augment")  # no word of theirs may be changed: a StepError
]


def test_every_strategy_is_held_to_its_promises() -> None:
    assert KNOBS.keys() | ELSEWHERE == STRATEGIES.keys()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_family("bert", tmp_path_factory.mktemp("base"))


def train(
    kind: str, name: str, base: Path, out: Path, seeds: tuple[int, ...] = (1,), epochs: int = 0
) -> Path:
    """Prepare and fine-tune on eight examples; return the candidate's folder."""
    knobs = KNOBS[name] | (MORE if "epochs" in KNOBS[name] and kind in SLOW else {})
    if name == "gradual" and kind in SLOW:  # layers that wait; in bfloat16 it takes that long
        knobs |= {"epochs": 160}
    if epochs and "epochs" in knobs:
        knobs |= {"epochs": epochs}
    recipe = Recipe(strategy=name, start=str(base), **knobs)
    prepare(name, recipe, base, out / "start")
    given = material(kind, out / "room", score=None)
    about = {
        "task": "t",
        "type": kind,
        "recipe": name,
        "strategy": name,
        "start": str(base),
        "labels": given.type.labels(given.examples),
        "max_tokens": 64,
        "seeds": list(seeds),
    }
    finetune(about, recipe, given, out / "start", out / "candidate")
    return out


class Trained(dict[tuple[str, str], Path]):
    """Candidates, trained when they are first asked for."""

    def __init__(self, base: Path, root: Path) -> None:
        super().__init__()
        self.base, self.root = base, root

    def __missing__(self, case: tuple[str, str]) -> Path:
        self[case] = train(*case, self.base, self.root / case[0] / case[1])
        return self[case]


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory) -> Trained:
    return Trained(base, tmp_path_factory.mktemp("candidates"))


def predictor(folder: Path, batch: int = 32):
    return load_candidate(folder / "start", folder / "candidate", "seed-1", batch)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_it_learns_its_own_eight_examples(trained, kind, name):
    """Exactly; its baseline need not, where it only compares words."""
    examples = EXAMPLES[kind](8)
    said = predictor(trained[kind, name]).predictions(examples)
    assert all(0 < item.confidence <= 1 + 1e-6 for item in said)
    wrong = [
        item.value
        for item, example in zip(said, examples, strict=True)
        if not near(item.value, right(kind, task_type(kind).reference(example)))
    ]
    assert wrong == [] or (name == "baseline" and kind == "question_answering")


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_prediction_does_not_depend_on_its_batch(trained, kind, name):
    texts = [*EXAMPLES[kind](11), *odd(kind)]
    folder = trained[kind, name]
    together = predictor(folder).predictions(texts)
    one_by_one = predictor(folder, batch=1).predictions(texts)
    for left, other in zip(together, one_by_one, strict=True):
        assert left.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert near(left.value, other.value)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_training_again_gives_the_same_bytes(base, tmp_path, kind, name):
    first, again = (train(kind, name, base, tmp_path / str(n), epochs=3) for n in (1, 2))
    assert digest(again / "candidate") == digest(first / "candidate")


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_bundle_answers_as_its_candidate_did_and_holds_no_pickle(trained, tmp_path, kind, name):
    folder = trained[kind, name]
    save_bundle_model(folder / "start", folder / "candidate", 1, tmp_path / "bundle")
    texts = EXAMPLES[kind](8)
    assert load_predictor(tmp_path / "bundle").predict(texts) == predictor(folder).predict(texts)
    kinds = {path.suffix for path in (tmp_path / "bundle").iterdir()}
    assert kinds <= {".json", ".safetensors", ".txt"}


def test_seeds_differ_where_chance_has_a_part(base, tmp_path):
    folder = train("classification", "full", base, tmp_path / "full", (1, 2)) / "candidate"
    assert digest(folder / "seed-1") != digest(folder / "seed-2")
    weights = train("classification", "features", base, tmp_path / "features", (1, 2))
    said = read_json(weights / "candidate/candidate.json")
    assert said["weights"] == {"1": "seed-1", "2": "seed-1"}


def test_every_recipe_of_the_demo_is_one_its_strategy_takes():
    params = yaml.safe_load(Path("params.yaml").read_text())
    for recipe in params["recipes"].values():
        strategy(recipe["strategy"]).Settings.model_validate(Recipe(**recipe).knobs)


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
