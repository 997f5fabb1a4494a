"""One loaded bundle that answers: what the API, the page and batches of rows ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from pipelines.versions import CHAMPION
from steps.core.entry import StepError
from steps.core.files import digest, read_json

Row = dict[str, Any]
Which = Literal["champion", "challenger"] | int | Path | None
LETTERS = 4  # characters of a token, where a bundle has no tokenizer


@dataclass(frozen=True, eq=False)
class Answerer:
    """`version`: its number in the registry, None of a folder; `type`: its task type's name.

    `lock`: is held while it answers, for tokenizers keep a state; who looks inside takes it too.
    """

    task: str
    type: str
    version: int | None
    recipe: str
    lineage: str
    bundle: Path
    predictor: Any  # steps.transfer.checkpoints.Predictor
    lock: Any = field(default_factory=Lock)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The fields of a row that are read."""
        found: tuple[str, ...] = self.predictor.type.INPUTS
        return found

    def answer(self, rows: Sequence[Row]) -> list[Row]:
        """Predict as `evaluate` and `outplant predict` do; StepError names a row without a text."""
        with self.lock:
            found: list[Row] = self.predictor.predict(list(rows))
        return found

    def cost(self, row: Row) -> int:
        """How many tokens a row's texts have."""
        return sum(self._tokens(str(row[name])) for name in self.inputs)

    @cached_property
    def _tokens(self) -> Callable[[str], int]:
        from steps.transfer.packing import read_tokenizer

        if not (self.bundle / "tokenizer.json").exists():
            return lambda text: len(text) // LETTERS + 1
        tokenizer = read_tokenizer(self.bundle)
        return lambda text: len(tokenizer.encode(text).ids)


def load(task: str, version: Which = None) -> Answerer:
    """Load a task's champion, or its challenger, another version, a folder with a bundle.

    StepError where there is no such.
    """
    if isinstance(version, Path):
        model = opened(version)
        if model.task != task:
            raise StepError(f"{version} is a bundle of {model.task}, not of {task}; name another")
        return model
    from pipelines import chosen, registry

    found = chosen.known(task, str(version or CHAMPION))
    return opened(registry.files(found)[0], found.number, found.lineage)


def opened(bundle: Path, version: int | None = None, lineage: str = "") -> Answerer:
    """Load the bundle in a folder; StepError where the folder has none."""
    from steps.transfer.checkpoints import load_predictor

    if not (bundle / "bundle.json").exists():
        raise StepError(f"{bundle} is no bundle (no bundle.json in it); run `dvc repro`")
    about, made = read_json(bundle / "bundle.json"), bundle / "lineage.json"
    lineage = lineage or (digest(made) if made.exists() else "")
    known = about["task"], about["type"], version, about["recipe"], lineage
    return Answerer(*known, bundle, load_predictor(bundle))
