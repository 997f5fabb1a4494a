"""Candidates and bundles on disk, and what answers from them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from steps.core.entry import StepError
from steps.core.files import read_json
from steps.core.temperature import scaled
from steps.tasks import Item, Prediction, task_type
from steps.transfer.starts import WEIGHTS, require_checkpoint
from steps.transfer.strategies import Reading, Scorer, strategy

# What a start is made of. No pickles: a checkpoint must be loadable without running code.
MODEL_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
)
BATCH = 32


@dataclass(frozen=True)
class Predictor:
    """Items -> predictions, the same in evaluation, the registry and the command line.

    `temperature`: at which probabilities are said, where a text has some; no value depends on it.
    """

    type: ModuleType
    classes: list[str]
    scorer: Scorer
    batch_size: int = BATCH
    temperature: float = 1.0

    def predictions(self, items: Sequence[str | Item]) -> list[Prediction]:
        """Predict; an item is a dict of the fields that the task reads, or the text itself.

        StepError names an item that lacks a field.
        """
        read = [self._item(number, item) for number, item in enumerate(items)]
        if not read:
            return []
        raws = self.scorer(Reading(self.batch_size), read)
        found: list[Prediction] = self.type.decode(read, raws, self.classes)
        return found if self.temperature == 1 else self._scaled(read, raws, found)

    def _scaled(
        self, read: list[Item], raws: list[Any], found: list[Prediction]
    ) -> list[Prediction]:
        """The same values at another temperature; a tie that rounding makes is left as it was."""
        each = self.type.OUTPUT == "labels"
        cooler = [scaled(raw, self.temperature, each) for raw in raws]
        again: list[Prediction] = self.type.decode(read, cooler, self.classes)
        pairs = zip(again, found, strict=True)
        return [new if new.value == old.value else old for new, old in pairs]

    def predict(self, items: Sequence[str | Item]) -> list[dict[str, Any]]:
        """Return what a user gets for each item: a label with probabilities, entities, a text."""
        return [prediction.answer for prediction in self.predictions(items)]

    def _item(self, number: int, item: str | Item) -> Item:
        found = {"text": item} if isinstance(item, str) else item
        wrong = [name for name in self.type.INPUTS if not isinstance(found.get(name), str)]
        if wrong:
            expected = ", ".join(f'"{name}": "..."' for name in self.type.INPUTS)
            raise StepError(f"item {number} has no text as {wrong[0]!r}; expected {{{expected}}}")
        return found


def load_weights(
    module: ModuleType, start: Path, weights: Path, kind: str, classes: list[str]
) -> Predictor:
    """Load what a strategy's `fit` has saved for a task type."""
    return Predictor(task_type(kind), classes, module.load(start, weights))


def load_candidate(start: Path, candidate: Path, folder: str, batch_size: int) -> Predictor:
    """Load one seed's weights (`folder`, below `candidate`) over its start."""
    about = read_json(candidate / "candidate.json")
    scorer = strategy(about["strategy"]).load(start, candidate / folder)
    return Predictor(task_type(about["type"]), about["classes"], scorer, batch_size)


def load_best(candidate: Path, batch_size: int) -> Predictor:
    """Load a candidate by its folder alone, with its best seed."""
    about = read_json(candidate / "candidate.json")
    if "left_out" in about:
        raise StepError(f"{candidate} was left out ({about['left_out']}); name another candidate")
    folder = about["weights"][str(best_seed(about))]
    return load_candidate(candidate, candidate, folder, batch_size)


def load_predictor(bundle: Path) -> Predictor:
    """Load a bundle, at its temperature; StepError where the folder is none."""
    if not (bundle / "candidate.json").exists():
        raise StepError(f"{bundle} is no bundle (no candidate.json in it); run `dvc repro`")
    about = bundle / "bundle.json"
    temperature = read_json(about).get("temperature") if about.exists() else None
    return replace(load_candidate(bundle, bundle, ".", BATCH), temperature=temperature or 1.0)


def save_bundle_model(start: Path, candidate: Path, seed: int, out: Path) -> None:
    """Put one seed of a candidate into `out`, whole: configuration, tokenizer, all weights."""
    about = read_json(candidate / "candidate.json")
    folder = candidate / about["weights"][str(seed)]
    copy_checkpoint(start, out)
    for file in sorted(folder.iterdir()):
        shutil.copyfile(file, out / file.name)  # trained weights take the place of the start's
    shutil.copyfile(candidate / "candidate.json", out / "candidate.json")


def copy_start(start: Path, out: Path) -> dict[str, Any]:
    """Copy what training begins with: a checkpoint, or what a candidate has learned with the seed
    that is best on validation. Return the candidate's seed, if there is one.
    """
    if not (start / "candidate.json").exists():
        require_checkpoint(start)
        copy_checkpoint(start, out)
        return {}
    about = read_json(start / "candidate.json")
    require_moved(start, about)
    best = best_seed(about)
    folder = start / about["weights"][str(best)]
    copy_settings(start, out)
    if task_type(about["type"]).OUTPUT != "text" and read_json(start / "config.json").get(
        "is_encoder_decoder"
    ):
        save_encoder(folder / WEIGHTS, out / WEIGHTS)
    else:
        shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    return {"seed": best}


def best_seed(about: dict[str, Any]) -> int:
    """The seed of a candidate that is best on validation, the first of those that are."""
    said = {seed: about["validation"][str(seed)] for seed in about["seeds"]}
    return max(said, key=lambda seed: float("-inf") if said[seed] is None else said[seed])


def require_moved(start: Path, about: dict[str, Any]) -> None:
    """StepError unless a candidate has a whole pretrained model of its own."""
    said, own = f"{start} is a candidate", about["start"]
    if "left_out" in about:
        raise StepError(f"{said} that was left out ({about['left_out']}); start at another")
    folder = start / next(iter(about["weights"].values()))
    if not (folder / "network.json").exists():
        raise StepError(f"{said} of strategy {about['strategy']}, which has no encoder; take full")
    shape = read_json(folder / "network.json")["shape"]
    if shape["frozen"]:
        raise StepError(f"{said} whose encoder never moved; start at what it started at, {own}")
    if shape["dropped"]:
        raise StepError(
            f"{said} that has dropped {shape['dropped']} layers, and config.json tells of all;"
            f" start at what it started at, {own}, or set its dropped_layers to 0"
        )


def save_encoder(weights: Path, out: Path) -> None:
    """Write an encoder's weights under the names that they have in their encoder-decoder."""
    from safetensors.numpy import load_file, save_file

    state = load_file(weights)
    shared = {"shared.weight": state.pop("embed_tokens.weight")}
    named = {f"encoder.{name}": part for name, part in state.items()}
    save_file(shared | named, out, metadata={"format": "pt"})


def copy_settings(start: Path, out: Path) -> None:
    """Copy what a checkpoint has beside its weights."""
    _copy(start, out, MODEL_FILES[:1])
    copy_tokenizer(start, out)


def copy_checkpoint(start: Path, out: Path) -> None:
    """Copy a checkpoint's model and tokenizer files, and nothing else."""
    _copy(start, out, MODEL_FILES)
    copy_tokenizer(start, out)


def copy_tokenizer(start: Path, out: Path) -> None:
    _copy(start, out, TOKENIZER_FILES)


def checkpoint_files(start: Path) -> list[Path]:
    """The files of a start that belong to its model: all that a bundle has of it."""
    return _matching(start, MODEL_FILES + TOKENIZER_FILES)


def _matching(start: Path, patterns: tuple[str, ...]) -> list[Path]:
    return [file for pattern in patterns for file in sorted(start.glob(pattern))]


def _copy(start: Path, out: Path, patterns: tuple[str, ...]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for file in _matching(start, patterns):
        shutil.copyfile(file, out / file.name)
