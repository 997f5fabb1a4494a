"""Continued pretraining: a new head is warmed up first, then every weight moves."""

import itertools
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from steps.core.entry import StepError
from steps.core.params import Adaptation
from steps.core.progress import Bar
from steps.transfer import ranks, resume
from steps.transfer.loop import device
from steps.transfer.measure import Losses
from steps.transfer.objectives import Batch, Objective
from steps.transfer.packing import Blocks, Part, order
from steps.transfer.schedules import share
from steps.transfer.step import Stepper, Weights
from steps.transfer.watch import Diverged, Watch

WARMUP = 0.06  # share of a phase's steps in which its rate rises
# Tokens of one forward pass. More than a processor's cache holds are no faster and take memory
# (MiniLM-L6, AVX2: 1,523 tokens/s at 1024, 1,696 at 2048, 1,677 at 4096; AMX: 6,626 at 4096, 5,990
# at 8192); a GPU wants many.
AT_ONCE = {"cpu": 2048, "cuda": 16384}
LOGITS = 1 << 26  # numbers that logits may take at once, about


@dataclass(frozen=True)
class Phase:
    """A run of steps with one optimiser; `whole` says whether the encoder moves too."""

    name: str
    steps: int
    learning_rate: float
    schedule: str
    whole: bool


@dataclass(frozen=True)
class Material:
    """What is read: the blocks and the parts they come from, and what is made of them."""

    blocks: Blocks
    parts: list[Part]
    name: str  # of the objective
    objective: Objective
    predicted: float  # share of the tokens, about
    vocabulary: int

    @property
    def fill(self) -> float:
        """Mean number of tokens in the blocks that are read, padding not counted."""
        read = [part for part in self.parts if part.share > 0]
        whole = sum(part.share for part in read)
        return sum(part.share / whole * part.tokens / part.count for part in read)


class Stopped(SystemExit):
    """A signal ended the run between two steps; its checkpoint is written."""


@dataclass
class Run:
    """One adaptation, which can be left and taken up between any two steps."""

    weights: Weights
    material: Material
    params: Adaptation
    room: Path
    phases: list[Phase]
    history: list[dict[str, Any]] = field(default_factory=list)
    losses: Losses = field(default_factory=dict)  # on held-out text, as they are measured
    spent: float = 0.0  # seconds of training, those before a kill included
    signal: int = 0
    _saved: float = 0.0
    _warned: set[str] = field(default_factory=set)

    @property
    def batch(self) -> int:
        return batch_of(self.params, self.material.blocks)

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def train(self, phase: Phase) -> None:
        """Run a phase, or what a killed run left of it."""
        first = sum(p.steps for p in self.phases[: self.phases.index(phase)])
        freeze(self.weights.model, phase.whole)
        stepper = Stepper(self.weights, phase.learning_rate)
        done = self._restore(stepper, first, first + phase.steps)
        if done >= first + phase.steps:
            return
        self._saved = time.monotonic()
        watch = Watch([row["loss"] for row in self.history if row["phase"] == phase.name])
        batches = self._batches(done)
        bar = Bar(phase.name, phase.steps, done - first)
        with bar if ranks.first() else nullcontext(), self._signals():
            for step in range(done, first + phase.steps):
                rate = share(phase.schedule, step - first, phase.steps, WARMUP)
                row = self._step(stepper, next(batches), step, rate * phase.learning_rate)
                self._check(watch, row)
                self._record(row | {"phase": phase.name})
                if ranks.first():
                    speed = f"{row['tokens'] / self.spent:.0f} tokens/s"
                    bar.advance(note=f"loss {row['loss']:.3f}, {speed}")
                self._keep(step + 1, stepper)

    def _batches(self, done: int) -> Iterator[list[int]]:
        """Block numbers, a step's at a time, from step `done` on; the same on any rank."""
        numbers = order(self.material.parts, self.params.seed)
        rest = itertools.islice(numbers, done * self.batch, None)
        while True:
            yield list(itertools.islice(rest, self.batch))

    def _step(self, stepper: Stepper, numbers: list[int], step: int, rate: float) -> dict[str, Any]:
        """All chance comes from the seed, the step and the place in it: a resumed run is the same,
        and so is one of more ranks.
        """
        began = time.perf_counter()
        torch.manual_seed((self.params.seed * 1_000_003 + step) * 4096 + ranks.rank())
        self.weights.model.train()
        loss, norm = stepper.step(self._parts(numbers, step), rate)
        self.spent += time.perf_counter() - began
        seen = self.material.blocks[np.array(numbers)].size
        seen += self.history[-1]["tokens"] if self.history else 0
        return {
            "step": step + 1,
            "tokens": seen,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": rate,
            "seconds": round(self.spent, 3),
            "steps": self.steps,
        }

    def _parts(self, numbers: list[int], step: int) -> list[Batch]:
        """This rank's share of a step, in parts that fit."""
        places = list(range(len(numbers)))[ranks.rank() :: ranks.world()]
        block = self.material.blocks.tokens.shape[1]
        logits = block * self.material.predicted * self.material.vocabulary
        size = max(1, min(AT_ONCE[device().type] // block, int(LOGITS / logits)))
        return [
            self._part(numbers, step, places[at : at + size]) for at in range(0, len(places), size)
        ]

    def _part(self, numbers: list[int], step: int, places: list[int]) -> Batch:
        blocks = self.material.blocks[np.array([numbers[place] for place in places])]
        seeds = [[self.params.seed, 1, step, place] for place in places]
        return self.material.objective(blocks, [np.random.default_rng(seed) for seed in seeds])

    def _check(self, watch: Watch, row: dict[str, Any]) -> None:
        """StepError where the loss is no number or runs away; what was saved is left."""
        wrong = watch.wrong(row["loss"], row["gradient_norm"])
        if wrong:
            raise Diverged(f"step {row['step']} of {self.steps}: {wrong}")

    def _record(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        if ranks.first():
            with self._spared("history.jsonl is not written"):
                self.room.mkdir(parents=True, exist_ok=True)
                with (self.room / "history.jsonl").open("a") as stream:
                    stream.write(json.dumps(row, sort_keys=True) + "\n")

    def _keep(self, step: int, stepper: Stepper) -> None:
        """Save when it is time to, and leave when a signal asked for it."""
        minutes = (time.monotonic() - self._saved) / 60
        due = step % self.params.checkpoint_steps == 0 or minutes >= self.params.checkpoint_minutes
        stop, due = ranks.most([self.signal, due], device())
        if due or stop or step == self.steps:
            state = self._state(step, stepper)
            if ranks.first():
                with self._spared("no checkpoint is written; training goes on from the one before"):
                    resume.save(self.room, state)
            self._saved = time.monotonic()
        if stop:
            say(f"stopped after step {step} of {self.steps}; run it again to go on")
            raise Stopped(128 + stop)

    def _state(self, step: int, stepper: Stepper) -> dict[str, Any]:
        return {
            "step": step,
            "model": self.weights.state(),
            "optimiser": stepper.state(),
            "history": self.history,
            "losses": self.losses,
            "spent": self.spent,
        }

    def _restore(self, stepper: Stepper, first: int, end: int) -> int:
        """Return how many steps are done; weights are loaded if this phase was reached."""
        ranks.wait()  # the first may still be writing what the phase before ended with
        state = resume.restore(self.room)
        done = state["step"] if state else 0
        if ranks.most([done, -done], device()) != [done, -done]:
            raise StepError(
                f"not all ranks found the checkpoint of step {done} in {self.room}; let all hosts"
                " run in one shared folder (infra/README.md), or delete that one on each"
            )
        if state is None:  # a run killed before its first checkpoint may have left its history
            if first == 0 and ranks.first():
                (self.room / "history.jsonl").unlink(missing_ok=True)
            return first
        if state["step"] <= first:
            return first
        self.weights.load(state["model"])
        self.history, self.spent = state["history"], state["spent"]
        self.losses = state["losses"]
        if ranks.first():
            lines = [json.dumps(row, sort_keys=True) + "\n" for row in self.history]
            with self._spared("history.jsonl is not written"):
                (self.room / "history.jsonl").write_text("".join(lines))
        if state["step"] <= end:
            stepper.load(state["optimiser"])
            say(f"resumed after step {state['step']} of {self.steps}")
        return int(state["step"])

    @contextmanager
    def _spared(self, what: str) -> Iterator[None]:
        """A disk that fails does not end training; it is told of once."""
        try:
            yield
        except OSError as error:
            if what not in self._warned:
                self._warned.add(what)
                print(f"warning: {what} ({error})", file=sys.stderr, flush=True)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let a signal to stop be heard between two steps."""

        def hear(number: int, _: object) -> None:
            self.signal = number

        before = {n: signal.signal(n, hear) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def say(line: str) -> None:
    if ranks.first():
        print(line, flush=True)


def batch_of(params: Adaptation, blocks: Blocks) -> int:
    """Number of blocks in a step, over all ranks."""
    return max(1, params.batch_tokens // blocks.tokens.shape[1])


def freeze(model: nn.Module, whole: bool) -> None:
    """Let every weight move, or those of the head alone."""
    model.requires_grad_(True)
    if not whole:
        model.base_model.requires_grad_(False)
        for weight in model.get_output_embeddings().parameters():
            weight.requires_grad_(weight.ndim == 1)  # the matrix is the embeddings'


def begin_head(model: nn.Module, blocks: Blocks) -> None:
    """Let a new head begin at the corpus' own word frequencies.

    Its bias becomes the log of each token's share, so that the first steps need not learn them.
    """
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is None:
        return
    seen = np.bincount(blocks.tokens[blocks.segments > 0], minlength=len(bias))[: len(bias)] + 0.1
    with torch.no_grad():
        bias.copy_(torch.from_numpy(np.log(seen / seen.sum())).float())


def phases(params: Adaptation, material: Material, new_head: bool) -> list[Phase]:
    """Turn numbers of tokens into numbers of steps, by the blocks' mean fill."""
    tokens = batch_of(params, material.blocks) * material.fill
    warm = round(params.warmup_tokens / tokens) if new_head else 0
    steps = max(1, round(params.tokens / tokens))
    return [
        Phase("warming up the head", warm, params.warmup_learning_rate, "linear", False),
        Phase("adapting", steps, params.learning_rate, params.schedule, True),
    ]
