"""A tiny project whose champion is a small BERT with a head that transformers has."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import registry
from steps.transfer import loop
from steps.transfer.networks import encoder
from tests import tiny, tiny_project
from tests.tiny_project import STRONG, TASK, WEAK

FULL = {
    "strategy": "full",
    "start": "base",
    "learning_rate": 1e-2,
    "epochs": 8,
    "batch_tokens": 192,
    "pooling": "first",
}


def make(folder: Path) -> None:
    """Train, compare, bundle, register and promote it, in float32 as others compute."""
    with pytest.MonkeyPatch.context() as patch, in_float32():
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tiny.make_base(Path("base"))
        rows = {"train": slice(90, 200), "test": slice(30, 90)}
        tiny_project.make({"baseline": WEAK, "good": STRONG}, **rows, knobs={"good": FULL})
        tiny_project.commit()
        registry.register(TASK, Path("bundles") / TASK, Path("reports") / TASK)
        registry.crown(registry.version(TASK, 1))


@contextmanager
def in_float32() -> Iterator[None]:
    """As pipelines of transformers compute: in bfloat16 a label near a tie may be another."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, encoder):
            patch.setattr(module, "half", lambda where: None)
        yield
