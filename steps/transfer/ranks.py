"""One process or many: who this one is, and what they do together.

`OUTPLANT_LAUNCH` (infra/README.md) puts a stage on many devices, by `torchrun` or `accelerate
launch`; params.yaml never does, so that hardware makes nothing stale.
"""

import os
import shlex
import sys
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

LAUNCH = "OUTPLANT_LAUNCH"


def relaunch() -> None:
    """Where OUTPLANT_LAUNCH is set, become that launcher running this very command."""
    launch = shlex.split(os.environ.get(LAUNCH, ""))
    if launch and "RANK" not in os.environ:
        spec = sys.modules["__main__"].__spec__
        module = spec.name if spec else sys.argv[0]
        os.execvp(launch[0], [*launch, "-m", module, *sys.argv[1:]])


def join() -> None:
    """Meet the other ranks, if a launcher has started some."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo")


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def total(numbers: Iterable[float], where: torch.device) -> list[float]:
    """Sum numbers over all ranks, place by place."""
    tensor = torch.tensor(list(numbers), dtype=torch.float64, device=where)
    if world() > 1:
        dist.all_reduce(tensor)
    return [float(number) for number in tensor.tolist()]


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
