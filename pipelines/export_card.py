"""The model card of an export: the bundle's, with what the Hugging Face hub asks for."""

from pathlib import Path
from typing import Any

import yaml

from pipelines import export_writer, onnx_graph, quantized
from pipelines.quantized import Judged
from pipelines.versions import Version
from steps.core.files import read_json
from steps.core.params import load

LOADING = "\n## How to load it"
CLASSES = {"text-classification": "Sequence", "token-classification": "Token"}
STARTS = 10  # from a model to what it started at, and on


def card(found: Version, bundle: Path, folder: Path, judged: Judged | None) -> str:
    """Write it as Markdown, with its front matter."""
    front, text = parted((bundle / "README.md").read_text(encoding="utf-8"))
    about = read_json(bundle / "bundle.json")
    known = licence(about["start"])
    front |= {"library_name": "transformers"} | ({"license": known} if known else {})
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=True, allow_unicode=True)}---",
        text.partition(LOADING)[0],
        _loading(about, front["pipeline_tag"]),
        _onnx(folder, judged),
        _lineage(found, bundle, about["start"], known),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def parted(card: str) -> tuple[dict[str, Any], str]:
    """A card's front matter, {} where it has none, and the rest."""
    if not card.startswith("---\n"):
        return {}, card
    front, _, text = card.removeprefix("---\n").partition("\n---")
    try:
        said = yaml.safe_load(front)
    except yaml.YAMLError:  # another's card, of which nothing but the licence is asked
        said = None
    return (said if isinstance(said, dict) else {}), text


def licence(start: str) -> str:
    """What the card of the base says, behind all that was adapted from it; "" if nothing does."""
    adaptations = load().adaptations
    for _ in range(STARTS):
        name = start.removeprefix("models/")
        if not start.startswith("models/") or name not in adaptations:
            break
        start = adaptations[name].start
    file = Path(start) / "README.md"
    if not file.is_file():
        return ""
    said = parted(file.read_text(encoding="utf-8", errors="replace"))[0].get("license")
    return said if isinstance(said, str) else ""


def _loading(about: dict[str, Any], task: str) -> str:
    if task not in CLASSES:
        return _writing(about)
    name = f"AutoModelFor{CLASSES[task]}Classification"
    long = (
        f"\n\nThere texts are cut after {about['max_tokens']} tokens; `outplant predict` reads"
        " on in windows; a word's label is that of its first token."
        if task == "token-classification"
        else ""
    )
    cut = "" if long else ", truncation=True"
    return (
        "## How to load it\n\n```python\n"
        f"from transformers import AutoTokenizer, {name}, pipeline\n\n"
        f'model = {name}.from_pretrained("this folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("this folder")\n'
        f'pipeline("{task}", model=model, tokenizer=tokenizer)("a text"{cut})\n```{long}'
    )


def _writing(about: dict[str, Any]) -> str:
    name = export_writer.CLASS
    return (
        "## How to load it\n\n```python\n"
        f"from transformers import AutoTokenizer, {name}\n\n"
        f'model = {name}.from_pretrained("this folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("this folder")\n'
        'read = tokenizer("a text", truncation=True, return_tensors="pt")\n'
        "tokenizer.decode(model.generate(**read)[0], skip_special_tokens=True)\n```\n\n"
        f"Texts are cut after {about['max_tokens']} tokens."
    )


def _onnx(folder: Path, judged: Judged | None) -> str:
    if not (folder / onnx_graph.MODEL).exists():
        return ""
    names = ", ".join(f"`{name}`" for name in onnx_graph.inputs(folder))
    said = (
        f"## ONNX\n\n`{onnx_graph.MODEL}` takes {names} (rows, tokens) as int64, any number of"
        " both up to a window, and gives `logits`."
    )
    if judged is None:
        return said
    size, wait = (f"{judged.after.bytes / 1e6:.1f} MB", f"{judged.after.latency_ms:.1f} ms")
    return (
        f"{said} `{onnx_graph.INT8}` is the same in int8 ({size}, {wait} a text here; before"
        f" {judged.before.bytes / 1e6:.1f} MB, {judged.before.latency_ms:.1f} ms), with"
        f" {judged.metric} {judged.after.score.value:.3f} against {judged.before.score.value:.3f}."
        f" Paired comparison: {quantized.sentence(judged)}."
    )


def _lineage(found: Version, bundle: Path, start: str, known: str) -> str:
    made_from = read_json(bundle / "lineage.json")["sha256"]
    rows = "\n".join(f"| {name} | `{value}` |" for name, value in sorted(made_from.items()))
    right = f"{known} (of the base)" if known else "not said by the base; ask whose it is"
    return (
        f"## Lineage\n\nVersion {found.number} of `{found.task}`, lineage key `{found.lineage}`,"
        f" commit `{found.commit or 'none'}`, start `{start}`. Licence: {right}.\n\n"
        f"| made from | sha256 |\n|---|---|\n{rows}"
    )
