"""Checkpoints that outlive a killed stage: outside its outs, which DVC deletes before a run."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

ROOM = Path(".outplant/checkpoints")
FILE = "checkpoint.pt"
KEY = 16  # characters of a room's key


def room_for(name: str, inputs: dict[str, Any]) -> Path:
    """Return the folder of a stage's checkpoints; other inputs, another folder."""
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:KEY]
    return ROOM / f"{name}-{key}"


def save(room: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint whole: a kill in the middle leaves the one before.

    OSError where the disk does not take it; the one before is there still.
    """
    room.mkdir(parents=True, exist_ok=True)
    made = room / f"{FILE}.new"
    try:
        with made.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        made.replace(room / FILE)
    except RuntimeError as error:  # torch's own word for a disk that is full
        raise OSError(str(error).splitlines()[0]) from None
    finally:
        made.unlink(missing_ok=True)


def restore(room: Path) -> dict[str, Any] | None:
    """Load the last checkpoint (tensors and plain values only), or None."""
    path = room / FILE
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def forget(room: Path) -> None:
    """Remove the checkpoints of this stage, those of runs with other inputs too."""
    name = room.name[:-KEY]
    for other in room.parent.glob(f"{name}{'?' * KEY}"):
        shutil.rmtree(other, ignore_errors=True)
