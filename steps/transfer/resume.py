"""Checkpoints that outlive a killed stage: outside its outs, which DVC deletes before a run."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

ROOM = Path(".outplant/checkpoints")


def room_for(name: str, inputs: dict[str, Any]) -> Path:
    """Return the folder of a stage's checkpoints; other inputs, another folder."""
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    return ROOM / f"{name}-{key}"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint whole: a kill in the middle leaves the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "checkpoint.new"
    torch.save(state, made)
    made.replace(folder / "checkpoint.pt")


def restore(folder: Path) -> dict[str, Any] | None:
    """Load the last checkpoint (tensors and plain values only), or None."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def forget(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
