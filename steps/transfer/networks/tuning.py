"""What strategies that move weights have in common: a network to begin with, groups of weights with
their learning rates, and a training that ends in a folder of weights.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from steps.core.entry import StepError
from steps.transfer import networks
from steps.transfer.loop import set_dropout
from steps.transfer.networks import Shape
from steps.transfer.networks.heads import fit_first
from steps.transfer.networks.training import Group, Plan, train
from steps.transfer.schedules import share
from steps.transfer.strategies import Material, Reading, Training


def begin(
    material: Material, settings: Training, shape: Shape, start: Path, seed: int, renewed: int = 0
) -> nn.Module:
    """Build a network whose head is already good on the frozen encoder, where that can be had.

    `renewed`: of the last layers so many begin anew, and the head with them.
    """
    torch.manual_seed(seed)
    made = networks.network(material.type.OUTPUT).build(start, material, shape)
    if renewed:
        made.encoder.renew(renewed)
    elif hasattr(made, "units"):
        first = material.once("head", lambda: fit_first(made, material))  # all seeds begin with it
        made.load_state_dict(first, strict=False)
    set_dropout(made, settings.dropout)
    if settings.class_weights:
        made.weights = class_weights(material).to(made.encoder.device)
    return made


def class_weights(material: Material) -> torch.Tensor:
    """Weights by which all classes weigh alike: units / (classes * a class's units)."""
    if material.type.OUTPUT not in ("classes", "labels"):
        raise StepError(
            f"class_weights: true in a recipe for {material.task}, which has no classes; take it"
            " out, or name the tasks that the recipe is for, `tasks: [...]`"
        )
    targets = [material.type.targets(e, material.classes) for e in material.examples]
    if material.type.OUTPUT == "labels":
        positive = np.concatenate(targets).sum(axis=0)
        weights = (len(targets) - positive) / np.maximum(positive, 1)
    else:
        counts = np.bincount(np.concatenate(targets), minlength=len(material.classes))
        weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
    return torch.from_numpy(weights.astype(np.float32))


def decayed(made: nn.Module, settings: Training, layer_decay: float = 1.0) -> list[Group]:
    """Groups of weights, the head at the full rate and each layer below it at a smaller one; biases
    and norms are not pulled towards zero.
    """
    groups: list[Group] = []
    for depth, weights in enumerate(reversed(made.groups())):
        rate = settings.learning_rate * layer_decay ** max(0, depth - 1)
        for matrix in (True, False):
            chosen = [w for w in weights if w.requires_grad and (w.ndim > 1) == matrix]
            decay = settings.weight_decay if matrix else 0.0
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups


def tune(
    made: nn.Module,
    material: Material,
    settings: Training,
    groups: list[Group],
    where: tuple[int, Path],
    **plan: Any,
) -> dict[str, Any]:
    """Train and save; `where`: the seed, and the folder to save into. plan, and what is
    returned, are those of `learn`.
    """
    seed, out = where
    found = learn(made, material, settings, groups, seed, **plan)
    made.save(out)
    return found


def learn(
    made: nn.Module,
    material: Material,
    settings: Training,
    groups: list[Group],
    seed: int,
    **plan: Any,
) -> dict[str, Any]:
    """Train in place; return the epoch that was kept, and the scores and losses of all.

    plan: what of the Plan is another than usual.
    """
    steps = plan_for(made, material, settings, seed)
    rows = material.once("rows", lambda: made.rows(material.examples, learn=True))
    found = train(made, rows, groups, replace(steps, **plan), material.room / f"seed-{seed}")
    return vars(found)


def plan_for(made: nn.Module, material: Material, settings: Training, seed: int) -> Plan:
    """The plan of a training with a recipe's knobs, where nothing is said against it."""
    return Plan(
        settings.epochs,
        settings.batch_tokens,
        settings.patience,
        seed,
        settings.checkpoint_minutes,
        rate=lambda step, steps: share("linear", step, steps, settings.warmup),
        score=score_of(made, material),
        told=material.told,
        layout=getattr(made, "layout", None),
    )


def score_of(made: nn.Module, material: Material) -> Callable[[], float] | None:
    """How good the network is on validation, as it stands, or with what it settles there; None
    where there is no such part.
    """
    if material.score is None or not material.validation:
        return None
    if hasattr(made, "settle"):
        return lambda: float(made.settle(material))

    def scorer(reading: Reading, items: list[dict[str, Any]]) -> list[Any]:
        found: list[Any] = made.scores(items, reading.batch_size)
        return found

    return lambda: material.judged(scorer)
