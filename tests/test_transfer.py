"""Every task type in every family of models that can do it: learns its own examples, reads one as
it does many, and answers from disk as it did in memory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steps.core.entry import StepError
from steps.tasks import TASKS, task_type
from steps.transfer import networks
from steps.transfer.networks import Shape
from steps.transfer.networks.tuning import begin, decayed, tune
from steps.transfer.strategies import Material, Reading
from steps.transfer.strategies.full import Settings
from tests.families import make_family
from tests.tiny import EXAMPLES
from tests.trained import material, near, odd, right

ENCODERS = (
    "bert",
    "roberta",
    "distilbert",
    "xlnet",
    "xlm-roberta",
    "gpt2",
    "t5",
    "bart",
    "modernbert",
)
WRITERS = {
    "translation": ("t5", "bart", "marian"),
    "summarisation": ("t5", "bart"),
    "generation": ("gpt2", "t5", "bart"),
}
SELDOM = {  # of each kind of family another is in `make test`
    *((kind, family) for kind in TASKS for family in ("distilbert", "xlm-roberta", "bart")),
    *(("translation", "bart"), ("summarisation", "t5"), ("generation", "t5")),
} - {("summarisation", "bart"), ("generation", "bart")}
CASES = [
    pytest.param((kind, family), marks=[pytest.mark.slow] * ((kind, family) in SELDOM))
    for kind in TASKS
    for family in WRITERS.get(kind, ENCODERS)
]
EPOCHS = {"text": 200, "span": 40, "number": 60, "classes": 60}


@dataclass(frozen=True)
class Fruit:
    """A trained network, in memory and on disk."""

    material: Material
    start: Path
    out: Path
    made: Any

    def values(self, raws: list[Any]) -> list[Any]:
        items, classes = self.material.examples, self.material.classes
        return [one.value for one in self.material.type.decode(items, raws, classes)]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def fruit(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Fruit:
    kind, family = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{family}")
    start = make_family(family, folder / "start")
    given = material(kind, folder / "room")
    epochs = EPOCHS.get(given.type.OUTPUT, 20)
    settings = Settings(
        strategy="full",
        start="start",
        learning_rate=5e-3,
        epochs=epochs,
        batch_tokens=128,
        weight_decay=0.0,
        patience=0,
    )
    made = begin(given, settings, Shape(), start, 1)
    tune(made, given, settings, decayed(made, settings), (1, folder / "out"))
    return Fruit(given, start, folder / "out", made)


def test_it_learns_its_own_eight_examples_exactly(fruit: Fruit) -> None:
    kind = fruit.material.type
    said = fruit.values(fruit.made.scores(fruit.material.examples, 32))
    truth = [kind.reference(example) for example in fruit.material.examples]
    for value, reference in zip(said, truth, strict=True):
        assert near(value, right(fruit.material.task, reference))


def test_a_prediction_does_not_depend_on_its_batch(fruit: Fruit) -> None:
    items = [*EXAMPLES[fruit.material.task](11), *odd(fruit.material.task)]
    together, alone = (fruit.made.scores(items, size) for size in (64, 1))
    for one, other in zip(together, alone, strict=True):
        _assert_alike(one, other)


def test_it_answers_from_disk_as_it_did_in_memory(fruit: Fruit) -> None:
    items = fruit.material.examples
    loaded = networks.load(fruit.start, fruit.out)(Reading(32), items)
    for one, other in zip(fruit.made.scores(items, 32), loaded, strict=True):
        _assert_alike(one, other, 0.0)
    assert {path.suffix for path in fruit.out.iterdir()} <= {".json", ".safetensors"}


@pytest.mark.parametrize("kind", [kind for kind in TASKS if hasattr(task_type(kind), "classes")])
def test_a_label_that_only_the_test_part_has_is_named(kind: str) -> None:
    module, examples = task_type(kind), EXAMPLES[kind](9)
    known = module.labels(examples)
    if not known:
        pytest.skip("it has no labels")
    few = [label for label in known if label != known[-1]]
    held_out = [example for example in examples if known[-1] in module.labels([example])]
    with pytest.raises(StepError, match=f"{known[-1]!r}.*{held_out[0]['id']}"):
        module.targets(held_out[0], module.classes(few))


def _assert_alike(one: Any, other: Any, within: float = 1e-4) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            _assert_alike(one[name], other[name], within)
    elif isinstance(one, np.ndarray):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=within, rtol=within)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=within, rel=within)
    else:
        assert one == other
