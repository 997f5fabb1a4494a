"""An original author's PyTorch checkpoint -> config.json, safetensors and tokenizer.json.

Every tensor is kept and none is made up: a model loaded and saved again would lose the heads that
it does not know, and begin at random those that it lacks. `weights_only` lets a pickle build
tensors and nothing else; that is a filter and no wall, so that a stranger's file is converted in a
container without a network: steps.transfer.starts gives the command.
"""

import pickle
import re
import shutil
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from steps.core.entry import StepError
from steps.core.files import read_json, whole, write_json
from steps.transfer import starts

STATES = ("optimizer", "scheduler", "scaler", "rng_state", "training_args")  # a Trainer's own
CONFIGS = ("config.json", "bert_config.json")  # the second is what BERT's own authors wrote
TOKENIZERS = ("*token*.json", "*.model", "merges.txt", "vocab.*")
BROKEN = (  # whatever bytes that are no whole file of tensors make of torch.load
    *(pickle.UnpicklingError, EOFError, struct.error, ValueError, LookupError, TypeError),
    *(AssertionError, AttributeError, ArithmeticError, RuntimeError, MemoryError),
)
RENAMED = {"gamma": "weight", "beta": "bias"}
Tensors = dict[str, Any]


def convert(folder: Path, out: Path) -> str:
    """Write the checkpoint into the new folder `out`; return in one line what it is.

    StepError where that is there, or the checkpoint holds more than tensors or less than it needs.
    """
    if not folder.is_dir():
        raise StepError(f"no folder {folder}; expected a checkpoint")
    if out.exists():
        raise StepError(f"{out} is there already; name a new folder, or remove it")
    starts.refuse_code(folder)
    with whole(out) as made:
        names = _weights(folder, made)
        kind = _config(folder, made, names)
        tokens = _tokenizer(folder, made)
    starts.require_checkpoint(out)
    return f"{kind}, {len(names)} tensors, {tokens}"


def _weights(folder: Path, out: Path) -> list[str]:
    """Write model.safetensors, or as many shards as there are; return the tensors' names."""
    if any(folder.glob("model*.safetensors")):
        return _copy(folder, out)
    files = _pickles(folder)
    names = [starts.WEIGHTS]
    if len(files) > 1:
        names = [f"model-{n:05}-of-{len(files):05}.safetensors" for n in range(1, len(files) + 1)]
    places: dict[str, str] = {}
    total = 0
    for file, name in zip(files, names, strict=True):
        tensors = _read(file)
        total += _save(tensors, out / name)
        places |= dict.fromkeys(tensors, name)
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_json(out / starts.INDEX, index)
    return sorted(places)


def _copy(folder: Path, out: Path) -> list[str]:
    """Take safetensors as they are."""
    from safetensors import safe_open

    names: list[str] = []
    for file in sorted(folder.glob("model*.safetensors*")):
        shutil.copyfile(file, out / file.name)
        if file.suffix == ".safetensors":
            with safe_open(file, framework="np") as opened:
                names += opened.keys()
    return names


def _pickles(folder: Path) -> list[Path]:
    """List the pickles that hold the weights: as transformers names them, else the only one."""
    found = sorted(folder.glob(starts.PICKLES[0]))
    others = {file for glob in starts.PICKLES for file in folder.glob(glob)}
    found = found or sorted(file for file in others if not file.name.startswith(STATES))
    if len(found) > 1 and not found[0].name.startswith("pytorch_model"):
        there = ", ".join(file.name for file in found)
        raise StepError(f"{folder} has {there}; leave in it the one that holds the weights")
    if not found:
        raise StepError(f"{folder} has no weights; expected one of {', '.join(starts.PICKLES)}")
    return found


def _read(file: Path) -> Tensors:
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except BROKEN as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))  # its own advice is to trust the file
        why = f"it asks for {asked[1]}" if asked else "it is damaged, or an odd pickle"
        raise StepError(
            f"{file} is refused, {why}; expected tensors and nothing else, ask its authors for"
            " safetensors or for a plain state_dict"
        ) from None
    if not isinstance(state, dict):
        odd = [type(state).__name__]
    else:
        plain = {name for name, value in state.items() if torch.is_tensor(value)}
        odd = [str(name) for name in state if not isinstance(name, str) or name not in plain]
    if odd:
        raise StepError(
            f"{file} holds {', '.join(odd[:5])}, no tensors; expected names and tensors alone, save"
            " its state_dict"
        )
    return {_renamed(name): tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    """Name a layer norm's weights as PyTorch does; the first BERTs had TensorFlow's names."""
    return re.sub(r"(?<=LayerNorm\.)(gamma|beta)$", lambda old: RENAMED[old[1]], name)


def _save(tensors: Tensors, file: Path) -> int:
    """Write tensors, each with its own memory (tied ones share theirs); return their bytes."""
    import torch
    from safetensors.torch import save_file

    own = {
        name: part.clone(memory_format=torch.contiguous_format) for name, part in tensors.items()
    }
    save_file(own, file, metadata={"format": "pt"})
    return sum(part.nbytes for part in own.values())


def _config(folder: Path, out: Path, names: list[str]) -> str:
    """Write config.json with the model's type, which old ones lack; return the type."""
    file = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if file is None:
        raise StepError(f"{folder} has no config.json; put there the one its authors give")
    config = read_json(file)
    kind = config.get("model_type") or _kind(file, names)
    write_json(out / "config.json", config | {"model_type": kind})
    return str(kind)


def _kind(file: Path, names: list[str]) -> str:
    """Tell a model's type by its weights' names, such as bert.embeddings.LayerNorm.weight."""
    from transformers import CONFIG_MAPPING

    found = {name.split(".")[0] for name in names} & set(CONFIG_MAPPING.keys())
    found = found or {"bert"} & {file.name.split("_")[0]}
    if len(found) != 1:
        raise StepError(
            f"{file} does not say what the model is, nor do its weights; add"
            ' "model_type": "bert", or what it is'
        )
    return found.pop()


def _tokenizer(folder: Path, out: Path) -> str:
    """Put the tokenizer beside, made of its vocabulary where it is not one file yet."""
    for glob in TOKENIZERS:
        for file in folder.glob(glob):
            shutil.copyfile(file, out / file.name)
    if (out / "tokenizer.json").exists():
        return "tokenizer as it was"
    _require_vocabulary(folder)
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    case = _case(out)
    try:
        tokenizer = AutoTokenizer.from_pretrained(out, **case)
        tokenizer.save_pretrained(out)
    except (OSError, ValueError, TypeError, ImportError) as error:
        why = str(error).strip().splitlines()[0]
        raise StepError(f"no tokenizer.json can be made of {folder}: {why}") from None
    known = read_json(out / "config.json").get("vocab_size", len(tokenizer))
    if len(tokenizer) > known:
        raise StepError(
            f"the vocabulary of {folder} makes {len(tokenizer)} tokens, and its model knows {known}"
            " (vocab_size); put there the one that belongs to it"
        )
    cut = ", lower case" if case.get("do_lower_case") else ""
    return f"tokenizer made of {len(tokenizer)} tokens{cut}"


def _require_vocabulary(folder: Path) -> None:
    """StepError where transformers would make an empty tokenizer, or blame another library."""
    found = [file.name for glob in starts.VOCABULARIES for file in folder.glob(glob)]
    if not found:
        there = ", ".join(starts.VOCABULARIES)
        raise StepError(f"{folder} has no tokenizer; expected one of {there}, put it there")
    if found[0].endswith(".model") and find_spec("sentencepiece") is None:
        raise StepError(f"{folder / found[0]} is read by sentencepiece; `pip install` that, here")


def _case(folder: Path) -> dict[str, bool]:
    """Whether a BERT's text is lowered: transformers would unless told, whatever the vocabulary."""
    known, words = folder / "tokenizer_config.json", folder / "vocab.txt"
    if not words.exists() or (known.exists() and "do_lower_case" in read_json(known)):
        return {}
    with words.open(encoding="utf-8") as lines:
        pieces = [line.strip() for line in lines]
    return {"do_lower_case": all(re.fullmatch(r"\[.*\]", p) or p == p.lower() for p in pieces)}
