"""One process or many: who this one is, and what they do together.

`OUTPLANT_LAUNCH` (infra/README.md) puts a stage on many devices, by `torchrun` or `accelerate
launch`; params.yaml never does, so that hardware makes nothing stale.
"""

import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from steps.core.entry import StepError

LAUNCH = "OUTPLANT_LAUNCH"
SHARDED = "ACCELERATE_USE_FSDP"  # set by `accelerate launch --use_fsdp`
GRACE = 5.0  # seconds in which the first rank, failing alike, is heard before the others end it


def relaunch() -> None:
    """Where OUTPLANT_LAUNCH is set, become that launcher running this very command."""
    launch = shlex.split(os.environ.pop(LAUNCH, ""))  # once: its children are not to do so again
    if launch and "RANK" not in os.environ:
        spec = sys.modules["__main__"].__spec__
        module = spec.name if spec else sys.argv[0]
        try:
            os.execvp(launch[0], [*launch, "-m", module, *sys.argv[1:]])
        except OSError as error:
            raise StepError(
                f"{LAUNCH} begins with {launch[0]!r}, which cannot be run ({error.strerror});"
                " expected torchrun or accelerate launch with their options (infra/README.md)"
            ) from None


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other ranks, if a launcher has started some, and part from them in the end.

    What the user can mend is said by the first rank; of the others' the launcher's summary tells.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo")
        # `accelerate launch` turns it on: transformers would read a base on the first rank alone
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    try:
        yield
    except StepError as error:
        _tell_launcher(error)
        if first():
            raise
        time.sleep(GRACE)
        raise SystemExit(1) from None
    if dist.is_initialized():
        dist.destroy_process_group()


def _tell_launcher(error: StepError) -> None:
    """Let its summary, which comes last, have the line too."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        told = {"message": f"error: {' '.join(str(error).split())}", "timestamp": int(time.time())}
        Path(file).write_text(json.dumps(told))


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def sharded() -> bool:
    """Whether a model is to be kept in parts (steps.transfer.sharding)."""
    return world() > 1 and os.environ.get(SHARDED, "").lower() in ("1", "true")


def total(numbers: Iterable[float], where: torch.device) -> list[float]:
    """Sum numbers over all ranks, place by place."""
    tensor = torch.tensor(list(numbers), dtype=torch.float64, device=where)
    if world() > 1:
        dist.all_reduce(tensor)
    return [float(number) for number in tensor.tolist()]


def most(numbers: Iterable[int], where: torch.device) -> list[int]:
    """The largest of all ranks' numbers, place by place; what it says, all ranks do."""
    own = [int(number) for number in numbers]
    if world() == 1:
        return own
    tensor = torch.tensor(own, device=where)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return [int(number) for number in tensor.tolist()]


def add_up(gradients: list[Tensor]) -> None:
    """Sum gradients over all ranks in place, one message for all."""
    if world() > 1:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for part, gradient in zip(parts, gradients, strict=True):
            gradient.copy_(part.view_as(gradient))


def wait() -> None:
    if world() > 1:
        dist.barrier()
