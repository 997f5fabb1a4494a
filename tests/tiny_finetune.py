"""A tiny project of one task and one recipe, ready for the stage `finetune`."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from steps.core.files import write_json, write_rows, write_text
from tests.tiny import classified

ROOT = Path(__file__).parent.parent
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "source", "group", "text", "label")])
STAGE = ("finetune", "changes", "full", "splits", "start", "candidate", "metrics.json")
FULL = {
    "strategy": "full",
    "start": "none",
    "learning_rate": 2e-3,
    "epochs": 3,
    "batch_tokens": 48,
    "dropout": 0.1,
    "checkpoint_minutes": 0,
}


def project(
    folder: Path,
    base: Path,
    changed: dict[str, Any] | None = None,
    seeds: tuple[int, ...] = (1, 2),
) -> Path:
    """Write params with the recipe `full`, its splits and its start, a link to `base`."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["tasks"] = {"changes": params["tasks"]["changes"]}
    params["recipes"] = {
        "baseline": params["recipes"]["baseline"],
        "full": FULL | (changed or {}),
    }
    params["seeds"] = list(seeds)
    params["gate"]["minimum"] = {}
    write_text(folder / "params.yaml", yaml.safe_dump(params))
    (folder / "start").symlink_to(base)
    rows = classified(36)
    split(folder / "splits", rows[:24], rows[24:])
    return folder


def split(folder: Path, train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> None:
    """Write the parts of a split that `finetune` reads."""
    labels = sorted({row["label"] for row in (*train, *validation)})
    write_json(folder / "task.json", {"type": "classification", "labels": labels})
    write_rows(folder / "train.parquet", train, SCHEMA)
    write_rows(folder / "validation.parquet", validation, SCHEMA)
