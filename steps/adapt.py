"""Stage `adapt`: a base + token blocks -> an adapted checkpoint (continued pretraining).

    python -m steps.adapt ADAPTATION START BLOCKS OUT METRICS PLOT

A killed run goes on from its last checkpoint when the stage is run again, and ends in the same
bytes as an uninterrupted one. Gururangan et al. 2020, arXiv:2004.10964.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steps.core.entry import StepError, run
from steps.core.files import digest, whole, write_json
from steps.core.params import Adaptation, choose, load
from steps.transfer import resume
from steps.transfer.adaptation import Run, begin_head, phases
from steps.transfer.checkpoints import TOKENIZER_FILES
from steps.transfer.loop import device, set_dropout
from steps.transfer.objectives import Masker, PickedLogits, held_out_loss
from steps.transfer.packing import Blocks, read_tokenizer

Losses = dict[str, float]


def adapt(model: nn.Module, new_head: bool, run: Run, held: Blocks) -> Losses:
    """Train `run.model` in place; return the held-out loss before, after warm-up and after."""
    losses: Losses = {}
    lm = PickedLogits(model)

    def measure(name: str) -> None:
        # A resumed run takes the losses that were measured before the kill from its own file.
        file = run.room / f"{name}.json"
        if file.exists():
            losses[name] = json.loads(file.read_text())
            return
        losses[name] = held_out_loss(lm, held, run.masker, run.params.seed, run.batch)
        write_json(file, losses[name])
        print(f"{name.replace('_', ' ')}: {losses[name]:.3f}", flush=True)

    if new_head:
        begin_head(model, run.blocks)
    measure("held_out_loss_before")
    for phase, name in zip(run.phases, ("held_out_loss_warm", "held_out_loss_after"), strict=True):
        run.train(phase)
        measure(name)
    return losses


def read_model(start: Path, seed: int) -> tuple[nn.Module, bool]:
    """Load a masked language model; also say whether its head is new, and so random by `seed`."""
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            start, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise StepError(f"{start} is no masked language model: {why}") from None
    base = f"{model.base_model_prefix}."
    missing = [name for name in info["missing_keys"] if not name.startswith(base)]
    return model.to(device()), bool(missing)


def read_masker(start: Path, rate: float) -> Masker:
    tokenizer = read_tokenizer(start)
    added = tokenizer.get_added_tokens_decoder()
    names = {token.content: number for number, token in added.items()}
    mask = next((names[name] for name in ("[MASK]", "<mask>") if name in names), None)
    if mask is None:
        raise StepError(f"{start} has no mask token, so that its objective cannot be mlm")
    special = frozenset(number for number, token in added.items() if token.special)
    return Masker(rate, mask, tokenizer.get_vocab_size(), special)


def write(model: nn.Module, start: Path, run: Run, out: Path) -> None:
    """Save the checkpoint with its tokenizer and history; nothing in it depends on time."""
    model.save_pretrained(out)
    for pattern in TOKENIZER_FILES:
        for file in sorted(start.glob(pattern)):
            shutil.copyfile(file, out / file.name)
    lines = [json.dumps(row, sort_keys=True) + "\n" for row in run.history]
    (out / "history.jsonl").write_text("".join(lines))


def report(losses: Losses, run: Run) -> dict[str, Any]:
    seen = run.history[-1]["tokens"]
    perplexities = {
        f"perplexity_{when}": round(math.exp(min(50.0, losses[f"held_out_loss_{when}"])), 3)
        for when in ("before", "after")
    }
    figures = {name: round(loss, 5) for name, loss in losses.items()}
    speed = {"tokens_per_second": round(seen / run.spent), "seconds": round(run.spent, 1)}
    return figures | perplexities | speed | {"tokens": seen}


def main(adaptation: str, start: Path, blocks: Path, out: Path, metrics: Path, plot: Path) -> None:
    params: Adaptation = choose(adaptation, load().adaptations, "adaptation")
    inputs = {"params": params.model_dump(), "blocks": digest(blocks), "start": digest(start)}
    room = resume.room_for(f"adapt-{adaptation}", inputs)
    model, new_head = read_model(start, params.seed)
    set_dropout(model, params.dropout)
    train = Blocks.load(blocks, "train")
    work = Run(
        model,
        read_masker(start, params.mask_rate),
        train,
        params,
        room,
        phases(params, train, new_head),
    )
    losses = adapt(model, new_head, work, Blocks.load(blocks, "held_out"))
    with whole(out) as made:
        write(model, start, work, made)
    write_json(metrics, report(losses, work))
    write_json(plot, work.history)
    resume.forget(room)


if __name__ == "__main__":
    run(main)
