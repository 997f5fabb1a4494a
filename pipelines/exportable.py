"""Whether transformers by itself can say what a bundle says, and if not, what would let it."""

from pathlib import Path
from typing import Any

from pipelines import export_writer
from steps.core.files import read_json
from steps.tasks import task_type
from steps.transfer.exported import PLAIN, PROBLEMS, TEXTS, WORDS

FULL = "a recipe of strategy full"
FIRST = f"{FULL} with `pooling: first`"
OFF = {  # of a network's shape -> the setting that leaves it out
    "crf": "`crf: false`",
    "wide": "`wide: false`",
    "dropped": "`dropped_layers: 0`",
    "lstm": FULL,
    "mix": FULL,
    "frozen": FULL,
}


def lacks(bundle: Path) -> str:
    """What is in the way of an export, and the setting that clears it; "" where nothing is."""
    about = read_json(bundle / "bundle.json")
    if "transformers" in about["loads_in"]:
        return ""
    kind = task_type(about["type"])
    whole = getattr(kind, "LEVEL", "") == "text"
    if kind.OUTPUT == "text" and (bundle / "network.json").exists():
        return export_writer.lacks(bundle)
    if kind.OUTPUT not in PROBLEMS:
        return (
            f"transformers has no head that says what ours does for tasks of type {about['type']};"
            " serve it by `outplant serve`, or load it by MLflow"
        )
    wanted = FIRST if whole else FULL
    if not (bundle / "network.json").exists():
        return f"strategy {about['strategy']} has no network; take {wanted}"
    return _of_network(bundle, whole, wanted)


def _of_network(bundle: Path, whole: bool, wanted: str) -> str:
    shape: dict[str, Any] = read_json(bundle / "network.json")["shape"]
    set_to = [OFF[name] for name, plain in PLAIN.items() if shape.get(name) != plain]
    if set_to:
        return f"its head is more than a linear one; set {', '.join(dict.fromkeys(set_to))}"
    if whole and shape["pool"] != "first":
        return f"its head reads a {shape['pool']} over tokens; set `pooling: first`"
    family, known = read_json(bundle / "config.json")["model_type"], TEXTS if whole else WORDS
    if family not in known:
        return (
            f"its base is of type {family}, whose heads in transformers are others; start at one"
            f" of {', '.join(sorted(known))}"
        )
    return f"this bundle was made before it could be; make it again, with {wanted}"
