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

from safetensors import SafetensorError

from steps.core.entry import StepError, run
from steps.core.files import digest, read_json, whole, write_json
from steps.core.params import Adaptation, choose, load
from steps.transfer import growth, ranks, resume, sharding
from steps.transfer.adaptation import Material, Run, batch_of, begin_head, phases
from steps.transfer.checkpoints import copy_tokenizer
from steps.transfer.families import read_family, read_model
from steps.transfer.loop import set_dropout
from steps.transfer.measure import Losses, held_out, mean
from steps.transfer.objectives import objective
from steps.transfer.packing import Blocks, Part
from steps.transfer.starts import require_checkpoint
from steps.transfer.watch import Diverged

WHEN = ("before", "warm", "after")
LIVE = ("seconds", "steps")  # of a history's row, for who looks on: not in outs
EVERYTHING_PREDICTED = ("clm", "infill")


def adapt(run: Run, held: tuple[Blocks, list[Part]]) -> Losses:
    """Train `run.weights` in place; return held-out losses before, after warm-up and after."""

    def measure(when: str) -> None:
        if when in run.losses:  # of a checkpoint that was taken up: its weights are later ones
            return
        run.losses[when] = held_out(run.weights, *held, run.material.objective, run.batch)
        if ranks.first():
            said = ", ".join(f"{name} {mean([s]):.3f}" for name, s in run.losses[when].items())
            print(f"held-out loss {when}: {said}", flush=True)

    measure("before")
    for phase, when in zip(run.phases, WHEN[1:], strict=True):
        run.train(phase)
        measure(when)
    return run.losses


def read_parts(blocks: Path, split: str) -> list[Part]:
    """Read where each part's blocks lie."""
    ledger = read_json(blocks / "ledger.json")["parts"]
    return [
        Part(name, p["share"], p[split]["first"], p[split]["blocks"], p[split]["tokens"])
        for name, p in ledger.items()
    ]


def prepare(params: Adaptation, start: Path, blocks: Path, room: Path) -> Run:
    """Load the base and the blocks; what is left is to train."""
    train = Blocks.load(blocks, "train")
    if ranks.sharded():
        sharding.require_even(batch_of(params, train), train.tokens.shape[1])
    model, new_head = read_model(start, params.seed, params.dropout)
    words = blocks / "vocabulary.json"
    if words.exists():
        pieces = read_json(words)["pieces"]
        growth.grow(model, {int(number): olds for number, olds in pieces.items()})
    set_dropout(model, params.dropout)
    family = read_family(start, model, blocks)
    name, made = objective(family, params)
    if new_head:
        begin_head(model, train)
    predicted = 1.0 if name in EVERYTHING_PREDICTED else params.mask_rate
    parts = read_parts(blocks, "train")
    material = Material(train, parts, name, made, predicted, family.vocabulary)
    plan = phases(params, material, new_head)
    return Run(sharding.weights(model), material, params, room, plan)


def write(run: Run, start: Path, blocks: Path, out: Path) -> None:
    """Save the checkpoint with its tokenizer and history; nothing in it depends on time."""
    with run.weights.complete() as model:
        if ranks.first():
            with whole(out) as made:
                model.save_pretrained(made)
                _furnish(run, start, blocks, made)
    ranks.wait()  # who ends before it is written, ends the others too


def _furnish(run: Run, start: Path, blocks: Path, out: Path) -> None:
    copy_tokenizer(start, out)
    if (blocks / "vocabulary.json").exists():
        for file in (*out.glob("vocab.*"), *out.glob("merges.txt"), *out.glob("*.model")):
            file.unlink()  # they tell of the smaller vocabulary
    shutil.copyfile(blocks / "tokenizer.json", out / "tokenizer.json")
    lines = [json.dumps(row, sort_keys=True) + "\n" for row in timeless(run)]
    (out / "history.jsonl").write_text("".join(lines))


def timeless(run: Run) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key not in LIVE} for row in run.history]


def report(losses: Losses, run: Run) -> dict[str, Any]:
    """Losses on the text that was read, by part, and on general text; what it took."""
    read = [part.name for part in run.material.parts if part.share and not _general(part.name)]
    figures: dict[str, Any] = {}
    for when in WHEN:
        loss = mean([losses[when][name] for name in read])
        figures[f"held_out_loss_{when}"] = round(loss, 5)
        figures[f"perplexity_{when}"] = round(math.exp(min(50.0, loss)), 3)
    parts = {
        part.name: {when: round(mean([losses[when][part.name]]), 5) for when in WHEN}
        for part in run.material.parts
    }
    seen = run.history[-1]["tokens"]
    return figures | {
        "held_out": parts,
        # against the warmed-up head: a random one's loss is nothing that could be forgotten
        "forgetting": {
            name: round(loss["after"] - loss["warm"], 5)
            for name, loss in parts.items()
            if _general(name)
        },
        "start": run.params.start,
        "control_of": run.params.control_of,
        "new_tokens": run.params.text.new_tokens,
        "objective": run.material.name,
        "tokens": seen,
        "tokens_per_second": round(seen / run.spent),
        "seconds": round(run.spent, 1),
        "device_seconds": round(run.spent * ranks.world(), 1),
    }


def _general(part: str) -> bool:
    return part.startswith("replay/")


def key(params: Adaptation, start: Path, blocks: Path) -> dict[str, Any]:
    """What a checkpoint is good for: the same settings, base, blocks and code."""
    here = Path(__file__).parent
    code = sorted([Path(__file__), *(here / "transfer").rglob("*.py")])
    return {
        "params": params.model_dump(),
        "blocks": digest(blocks),
        "start": digest(start),
        "code": digest(*code),
    }


def main(adaptation: str, start: Path, blocks: Path, out: Path, metrics: Path, plot: Path) -> None:
    """Continue the pretraining of START on BLOCKS as params.yaml's ADAPTATION says."""
    with ranks.joined():
        params: Adaptation = choose(adaptation, load().adaptations, "adaptation")
        require_checkpoint(start)
        ranks.relaunch()
        room = resume.room_for(f"adapt-{adaptation}", key(params, start, blocks))
        work = prepare(params, start, blocks, room)
        try:
            losses = adapt(work, (Blocks.load(blocks, "held_out"), read_parts(blocks, "held_out")))
        except Diverged as error:
            raise StepError(f"{adaptation}, {error}; {last_good(work, start, blocks)}") from None
        try:
            write(work, start, blocks, out)
            if ranks.first():
                write_json(metrics, report(losses, work))
                write_json(plot, timeless(work))
        except (OSError, SafetensorError) as error:
            raise StepError(
                f"{adaptation} is trained, but cannot be written to {out}: {error}; make room there"
                " and run it again: it goes on from its last checkpoint"
            ) from None
        if ranks.first():
            resume.forget(room)


def last_good(run: Run, start: Path, blocks: Path) -> str:
    """Save the last checkpoint as a model; say where it is, and what to do."""
    advice = "lower its learning_rate or raise its batch_tokens in params.yaml"
    state = resume.restore(run.room)
    if state is None:
        return f"no checkpoint was written yet; {advice}"
    out = run.room / "last-good"
    run.weights.load(state["model"])
    write(run, start, blocks, out)
    return f"{out} is the model after step {state['step']}; {advice}"


if __name__ == "__main__":
    run(main)
