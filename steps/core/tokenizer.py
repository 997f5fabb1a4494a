"""A base's tokenizer by its file alone, for what counts tokens and needs no model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.entry import StepError
from steps.core.files import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read_tokenizer(start: Path) -> tuple["Tokenizer", int | None]:
    """Read a base's tokenizer without truncation; returns it and the id of its unknown token."""
    from tokenizers import Tokenizer

    path = start / "tokenizer.json"
    if not path.is_file():
        raise StepError(
            f"no tokenizer.json in {start}; expected a base's folder (params.yaml, sources): "
            "run `dvc repro` (or `dvc pull`) to make it"
        )
    model = _model(path)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if model.get("unk_id") is not None:  # Unigram
        return tokenizer, int(model["unk_id"])
    unknown = model.get("unk_token")
    return tokenizer, tokenizer.token_to_id(unknown) if unknown else None


def _model(path: Path) -> dict[str, Any]:
    found = read_json(path)
    model = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, dict):
        raise StepError(f"{path} has no `model`; expected a file of the tokenizers library")
    return model
