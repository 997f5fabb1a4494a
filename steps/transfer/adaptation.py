"""Continued pretraining: a new head is warmed up first, then every weight moves."""

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from steps.core.params import Adaptation
from steps.core.progress import Bar
from steps.transfer import resume
from steps.transfer.loop import autocast, optimiser, update
from steps.transfer.objectives import Masker, PickedLogits, loss_sum, model_inputs
from steps.transfer.packing import Blocks, batches
from steps.transfer.schedules import share

WARMUP = 0.06  # share of a phase's steps in which its rate rises


@dataclass(frozen=True)
class Phase:
    """A run of steps with one optimiser; `whole` says whether the encoder moves too."""

    name: str
    steps: int
    learning_rate: float
    schedule: str
    whole: bool


@dataclass
class Run:
    """One adaptation, which can be left and taken up between any two steps."""

    model: nn.Module
    masker: Masker
    blocks: Blocks
    params: Adaptation
    room: Path
    phases: list[Phase]
    history: list[dict[str, Any]] = field(default_factory=list)
    spent: float = 0.0  # seconds of training, those before a kill included

    @property
    def batch(self) -> int:
        return max(1, self.params.batch_tokens // self.blocks.tokens.shape[1])

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def train(self, phase: Phase) -> None:
        """Run a phase, or what a killed run left of it."""
        first = sum(p.steps for p in self.phases[: self.phases.index(phase)])
        optim = self._optimiser(phase)
        done = self._restore(optim, first, first + phase.steps)
        if done >= first + phase.steps:
            return
        data = itertools.islice(batches(self.blocks, self.batch, self.params.seed), done, None)
        with Bar(phase.name, phase.steps) as bar:
            bar.advance(done - first)
            for step in range(done, first + phase.steps):
                began = time.perf_counter()
                rate = share(phase.schedule, step - first, phase.steps, WARMUP)
                row = self._step(next(data), step, optim, rate * phase.learning_rate)
                self.spent += time.perf_counter() - began
                self._record(row | {"phase": phase.name})
                speed = f"{row['tokens'] / self.spent:.0f} tokens/s"
                bar.advance(note=f"loss {row['loss']:.3f}, {speed}")
                if (step + 1) % self.params.checkpoint_steps == 0 or step + 1 == self.steps:
                    self._save(step + 1, optim)

    def _optimiser(self, phase: Phase) -> torch.optim.Optimizer:
        self.model.base_model.requires_grad_(phase.whole)
        for weight in self.model.get_output_embeddings().parameters():
            weight.requires_grad_(weight.ndim == 1 or phase.whole)  # the matrix is the embeddings'
        return optimiser(self.model.named_parameters(), phase.learning_rate, weight_decay=0.01)

    def _step(
        self, blocks: Blocks, step: int, optim: torch.optim.Optimizer, rate: float
    ) -> dict[str, Any]:
        """All chance comes from the seed and the step's number: a resumed run is the same."""
        torch.manual_seed(self.params.seed * 1_000_003 + step)
        ids, picked = self.masker(blocks, np.random.default_rng([self.params.seed, 1, step]))
        where = next(self.model.parameters()).device
        chosen = torch.from_numpy(picked).to(where)
        targets = torch.from_numpy(blocks.tokens.astype(np.int64)).to(where)[chosen]
        self.model.train()
        with autocast(where):
            logits = PickedLogits(self.model)(model_inputs(blocks, ids, self.model), chosen)
            loss = loss_sum(logits, targets) / max(1, len(targets))
        update(loss, optim, rate)
        seen = (self.history[-1]["tokens"] if self.history else 0) + blocks.size
        return {"step": step + 1, "tokens": seen, "loss": loss.item(), "learning_rate": rate}

    def _record(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        self.room.mkdir(parents=True, exist_ok=True)
        with (self.room / "history.jsonl").open("a") as stream:
            stream.write(json.dumps(row, sort_keys=True) + "\n")

    def _save(self, step: int, optim: torch.optim.Optimizer) -> None:
        state = {
            "step": step,
            "model": self.model.state_dict(),
            "optimiser": optim.state_dict(),
            "history": self.history,
            "spent": self.spent,
        }
        resume.save(self.room, state)

    def _restore(self, optim: torch.optim.Optimizer, first: int, end: int) -> int:
        """Return how many steps are done; weights are loaded if this phase was reached."""
        state = resume.restore(self.room)
        if state is None:  # a run killed before its first checkpoint may have left its history
            if first == 0:
                (self.room / "history.jsonl").unlink(missing_ok=True)
            return first
        if state["step"] <= first:
            return first
        self.model.load_state_dict(state["model"])
        self.history, self.spent = state["history"], state["spent"]
        lines = [json.dumps(row, sort_keys=True) + "\n" for row in self.history]
        (self.room / "history.jsonl").write_text("".join(lines))
        if state["step"] <= end:
            optim.load_state_dict(state["optimiser"])
            print(f"resumed after step {state['step']} of {self.steps}", flush=True)
        return int(state["step"])


def begin_head(model: nn.Module, blocks: Blocks) -> None:
    """Let a new head begin at the corpus' own word frequencies.

    Its bias becomes the log of each token's share, so that the first steps need not learn them.
    """
    size = model.get_output_embeddings().bias.shape[0]
    seen = np.bincount(blocks.tokens[blocks.segments > 0], minlength=size)[:size] + 0.1
    with torch.no_grad():
        share_of = torch.from_numpy(np.log(seen / seen.sum())).float()
        model.get_output_embeddings().bias.copy_(share_of)


def phases(params: Adaptation, blocks: Blocks, new_head: bool) -> list[Phase]:
    """Turn numbers of tokens into numbers of steps, by the blocks' mean fill."""
    batch = max(1, params.batch_tokens // blocks.tokens.shape[1])
    tokens = batch * blocks.size / len(blocks)
    warm = round(params.warmup_tokens / tokens) if new_head else 0
    steps = max(1, round(params.tokens / tokens))
    return [
        Phase("warming up the head", warm, params.warmup_learning_rate, "linear", False),
        Phase("adapting", steps, params.learning_rate, params.schedule, True),
    ]
