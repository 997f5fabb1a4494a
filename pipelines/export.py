"""`outplant export`: a registered version as a plain Hugging Face folder, for those without us."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines import export_card, export_writer, exportable, onnx_graph, quantized, registry
from pipelines.chosen import chosen
from pipelines.quantized import Judged, Refused
from pipelines.versions import CHAMPION, Version
from steps.core.entry import StepError
from steps.core.files import read_json, whole, write_text
from steps.core.params import load
from steps.tasks import task_type

KEPT = (  # of a bundle: what transformers reads, and what says where it is from; no code, no pickle
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "lineage.json",
)


@dataclass(frozen=True)
class Exported:
    """What was written; `judged` where it is in int8 too."""

    version: int
    files: list[str]
    judged: Judged | None


def export(at: str, out: Path, onnx: bool = False, int8: bool = False) -> Exported:
    """Write TASK or TASK@VERSION into a new folder, whole or not at all.

    onnx: model.onnx too. int8: that, and model.int8.onnx, which the judge lets pass. StepError
    where transformers has no such head, or a file is there; quantized.Refused where int8 costs too
    much.
    """
    if out.exists():
        raise StepError(f"{out} is there already; take another name, or remove it")
    if onnx or int8:
        onnx_graph.require()
    found = named(at)
    bundle = registry.files(found)[0]
    if why := exportable.lacks(bundle):
        raise StepError(f"version {found.number} of {found.task} cannot be exported: {why}")
    writes = task_type(read_json(bundle / "bundle.json")["type"]).OUTPUT == "text"
    if writes and (onnx or int8):
        raise StepError(
            "what writes a text word by word is no one graph; leave out --onnx and --quantize"
        )
    with whole(out) as made:
        copy(bundle, made)
        if writes:
            export_writer.settle(bundle, made)
        if onnx or int8:
            onnx_graph.write(made)
        judged = _int8(found.task, bundle, made) if int8 else None
        write_text(made / "README.md", export_card.card(found, bundle, made, judged))
        files = sorted(path.name for path in made.iterdir())
    return Exported(found.number, files, judged)


def copy(bundle: Path, folder: Path) -> None:
    """Copy what transformers reads of a bundle."""
    for name in KEPT:
        if (bundle / name).exists():
            shutil.copyfile(bundle / name, folder / name)


def named(at: str) -> Version:
    """Return the version that TASK or TASK@VERSION means: a number, an alias, else the champion."""
    task, _, which = at.partition("@")
    return chosen(task, which.removeprefix("v") if which[1:].isdecimal() else which or CHAMPION)


def _int8(task: str, bundle: Path, made: Path) -> Judged:
    onnx_graph.quantize(made)
    judged = quantized.judge(task, bundle, made, load())
    if judged.refused:
        raise Refused(judged)
    return judged
