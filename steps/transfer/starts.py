"""What training starts from: a checkpoint of config.json, safetensors and tokenizer.json, no code.

A pickle is a program that makes weights when it is run, and `trust_remote_code` does not exist
here: both are refused with the line that helps. No library of models is imported for that.
"""

from pathlib import Path
from shlex import quote

from steps.core.entry import StepError
from steps.core.files import read_json

# What transformers loads; it would fall back on a pickle if only other safetensors were there.
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
FOREIGN = ("*.h5", "*.ckpt.index", "*.msgpack")  # TensorFlow's and Flax's
VOCABULARIES = ("vocab.txt", "vocab.json", "*.model")
CODE = ("config.json", "tokenizer_config.json")  # what may name some, as `auto_map`
IMAGE = "outplant"  # made by infra/Dockerfile


def require_checkpoint(start: Path) -> None:
    """StepError, in one line with what to do, unless `start` is such a checkpoint."""
    if not start.is_dir():
        raise StepError(
            f"no folder {start}; expected a checkpoint there, mend `start` in params.yaml, or run"
            " `dvc repro` (or `dvc pull`) to make it"
        )
    refuse_code(start)
    _require_weights(start)
    if not (start / "config.json").is_file():
        raise StepError(f"{start} has no config.json; {_advice(start, 'config.json')}")
    if not (start / "tokenizer.json").is_file():
        raise StepError(f"{start} has no tokenizer.json; {_advice(start, 'tokenizer.json')}")


def refuse_code(folder: Path) -> None:
    """StepError where a checkpoint names Python code of its own, to be run by who loads it."""
    for file in (folder / name for name in CODE):
        named = read_json(file).get("auto_map") if file.is_file() else None
        if named:
            raise StepError(
                f"{file} names code of its own (auto_map: {', '.join(map(str, named))}), and"
                " `trust_remote_code` does not exist here; take a model of a type that transformers"
                " has itself, or, where its model_type is one, cut auto_map out"
            )


def _require_weights(start: Path) -> None:
    if (start / INDEX).is_file():
        names = set(read_json(start / INDEX).get("weight_map", {}).values()) or {WEIGHTS}
    elif (start / WEIGHTS).is_file():
        names = {WEIGHTS}
    else:
        raise StepError(_no_weights(start))
    if missing := sorted(name for name in names if not (start / name).is_file()):
        raise StepError(f"{start} has no {', '.join(missing)}; expected it by {INDEX}, fetch all")
    for name in sorted(names):
        _require_whole(start / name)


def _require_whole(file: Path) -> None:
    """A damaged file is told before hours of work, by its header and its length."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):
            pass
    except SafetensorError as error:
        raise StepError(
            f"{file} is no whole safetensors file ({error}); fetch it again (of a git repository"
            " by `git lfs pull`)"
        ) from None


def _no_weights(start: Path) -> str:
    if file := _first(start, PICKLES):
        return (
            f"{start / file} is a pickle, which may run code when it is opened; expected {WEIGHTS};"
            f" convert it where that harms nothing: `{sandboxed(start)}`, and let a source of kind"
            f" path be bases/{start.name} (infra/README.md)"
        )
    if file := _first(start, FOREIGN):
        return (
            f"{start / file} holds weights for TensorFlow or Flax, which nothing here opens;"
            f" expected {WEIGHTS}; take its authors' PyTorch weights, or save it as safetensors"
            " with transformers 4 in a container (from_tf=True or from_flax=True)"
        )
    return f"{start} has no {WEIGHTS}; {_advice(start, '*.safetensors')}"


def sandboxed(start: Path) -> str:
    """Give the command that converts a checkpoint without a network, from what is read-only."""
    volumes = ['"$PWD:/work:ro"', '"$PWD/bases:/bases"']
    volumes += [f'"{start}:{start}:ro"'] if start.is_absolute() else []
    shared = " ".join(f"-v {volume}" for volume in volumes)
    alone = f'docker run --rm --network none --user "$(id -u)" --env HOME=/tmp {shared} {IMAGE}'
    return f"mkdir -p bases && {alone} {converting(start, Path('/bases'))}"


def converting(start: Path, folder: Path) -> str:
    """Give the command that puts the checkpoint as it is to be into `folder`."""
    return f"outplant convert {quote(str(start))} {quote(str(folder / start.name))}"


def _advice(start: Path, missing: str) -> str:
    """Say what to do about a file that is missing, by what is there instead."""
    deeper = sorted(file for file in start.rglob(missing) if file.parent != start)
    if deeper:
        return f"one lies in {deeper[0].parent}; raise the source's `strip`, or narrow `include`"
    if missing == "tokenizer.json" and (file := _first(start, VOCABULARIES)):
        made = converting(start, Path("bases"))
        return f"make it of {file}: `{made}`, and let a source of kind path be bases/{start.name}"
    there = sorted(file.name for file in start.iterdir())
    return f"it has: {', '.join(there[:8]) or 'nothing'}; widen the source's `include`"


def _first(folder: Path, globs: tuple[str, ...]) -> str:
    """Name the first file that one of the globs matches, the earliest glob's first."""
    found = (file.name for glob in globs for file in sorted(folder.glob(glob)))
    return next(found, "")
