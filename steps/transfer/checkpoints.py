"""Candidates and bundles on disk, and what answers from them."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from steps.core.entry import StepError
from steps.core.files import read_json
from steps.tasks import Prediction, task_type
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
    """Texts -> predictions, the same in evaluation, the registry and the command line."""

    type: ModuleType
    classes: list[str]
    scorer: Scorer
    max_tokens: int
    batch_size: int = BATCH

    def predictions(self, texts: list[str]) -> list[Prediction]:
        """Predict; a text without any unit (an empty one) is predicted as one blank."""
        reading = Reading(self.type, self.classes, self.max_tokens, self.batch_size)
        shares = self.scorer(reading, texts) if texts else []
        return [
            self.type.decode(text, share, self.classes)
            for text, share in zip(texts, shares, strict=True)
        ]

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return a label with probabilities, or entities, for each text."""
        return [prediction.answer for prediction in self.predictions(texts)]


def load_candidate(start: Path, candidate: Path, folder: str, batch_size: int) -> Predictor:
    """Load one seed's weights (`folder`, below `candidate`) over its start."""
    about = read_json(candidate / "candidate.json")
    scorer = strategy(about["strategy"]).load(start, candidate / folder)
    kind = task_type(about["type"])
    return Predictor(kind, about["classes"], scorer, about["max_tokens"], batch_size)


def load_predictor(bundle: Path) -> Predictor:
    """Load a bundle; StepError where the folder is none."""
    if not (bundle / "candidate.json").exists():
        raise StepError(f"{bundle} is no bundle (no candidate.json in it); run `dvc repro`")
    return load_candidate(bundle, bundle, ".", BATCH)


def save_bundle_model(start: Path, candidate: Path, seed: int, out: Path) -> None:
    """Put one seed of a candidate into `out`, whole: configuration, tokenizer, all weights."""
    about = read_json(candidate / "candidate.json")
    folder = candidate / about["weights"][str(seed)]
    copy_checkpoint(start, out)
    for file in sorted(folder.iterdir()):
        shutil.copyfile(file, out / file.name)  # trained weights take the place of the start's
    shutil.copyfile(candidate / "candidate.json", out / "candidate.json")


def copy_checkpoint(start: Path, out: Path) -> None:
    """Copy a checkpoint's model and tokenizer files, and nothing else."""
    _copy(start, out, MODEL_FILES)
    copy_tokenizer(start, out)


def copy_tokenizer(start: Path, out: Path) -> None:
    _copy(start, out, TOKENIZER_FILES)


def _copy(start: Path, out: Path, patterns: tuple[str, ...]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for pattern in patterns:
        for file in sorted(start.glob(pattern)):
            shutil.copyfile(file, out / file.name)
