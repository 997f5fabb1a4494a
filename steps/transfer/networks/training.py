"""Fine-tuning by transformers' Trainer: batches of like lengths within a budget of tokens, the best
epoch kept, and a killed run goes on to the same bytes.

All epochs' batches are laid out before the first step, so that a run that is taken up begins in the
middle of the list; chance comes from the seed and the step's number alone.
"""

import gc
import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from steps.core.entry import StepError
from steps.core.progress import Bar
from steps.transfer import resume
from steps.transfer.loop import half
from steps.transfer.networks.trimmed import Complete, trimmed
from steps.transfer.strategies import Diverged

POOL = 64  # batches whose rows are sorted by length together
Group = dict[str, Any]  # of weights, as torch's optimisers take it; "lr" its peak


@dataclass(frozen=True)
class Plan:
    """What the steps of a training are.

    rate: the share of the peak rate at (step, of so many steps). before_epoch: called with the
    number of an epoch, from 0, before its first step, also of one that is taken up.
    patience: so many epochs without a better score end the training; 0 trains all of them.
    score: how good the network is on validation, as it stands. told: hears each epoch's score, and
    may raise to end a trial. layout: lays out the batches of all epochs, `batches` if None.
    """

    epochs: int
    batch_tokens: int
    patience: int
    seed: int
    checkpoint_minutes: float
    rate: Callable[[int, int], float]
    before_epoch: Callable[[int], None] = lambda epoch: None
    score: Callable[[], float] | None = None
    told: Callable[[int, float], None] = lambda epoch, score: None
    layout: "Callable[[Sequence[int], Plan], list[list[np.ndarray]]] | None" = None


@dataclass
class Trained:
    """What became of a training; `scores`: on validation, of each epoch that was run."""

    epoch: int = -1
    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class Stopped(SystemExit):
    """A signal ended the run between two steps; its checkpoint is written."""


def batches(sizes: Sequence[int], plan: Plan) -> list[list[np.ndarray]]:
    """For each epoch its batches of row numbers; padded, none has more than the budget of tokens,
    but for a row that has more by itself.
    """
    found = []
    for epoch in range(plan.epochs):
        random = np.random.default_rng([plan.seed, epoch])
        order = random.permutation(len(sizes))
        mean = max(1, int(np.mean(sizes)))
        pool = max(1, plan.batch_tokens // mean) * POOL
        cut: list[np.ndarray] = []
        for at in range(0, len(order), pool):
            near = sorted(order[at : at + pool], key=lambda number: sizes[number])
            cut += _cut(near, sizes, plan.batch_tokens)
        found.append([cut[number] for number in random.permutation(len(cut))])
    return found


def _cut(numbers: Sequence[int], sizes: Sequence[int], budget: int) -> list[np.ndarray]:
    """Cut rows, from short to long, into batches as even as the budget lets them be."""
    cut: list[list[int]] = [[]]
    for number in numbers:
        if cut[-1] and (len(cut[-1]) + 1) * sizes[number] > budget:
            cut.append([])
        cut[-1].append(number)
    return [np.array(part) for part in cut if part]


class Loop(Trainer):
    """A Trainer of batches that are laid out before; it takes up what `room` holds."""

    def __init__(
        self, network: nn.Module, rows: Sequence[Any], groups: list[Group], plan: Plan, room: Path
    ) -> None:
        self.rows, self.groups, self.plan, self.room = rows, groups, plan, room
        self.epochs = (plan.layout or batches)([row.size for row in rows], plan)
        self.ends = np.cumsum([len(epoch) for epoch in self.epochs]).tolist()
        self.past = resume.restore(room) or {"step": 0}
        if self.past["step"]:
            network.load_state_dict(self.past["network"])
        self.loss = self.past.get("loss", torch.zeros(()))  # of the epoch's steps, summed
        super().__init__(model=network, args=self._arguments(), data_collator=network.collate)
        self.loss = self.loss.to(self.args.device)
        for printer in (PrinterCallback, ProgressCallback):
            self.remove_callback(printer)

    def _arguments(self) -> TrainingArguments:
        where = next(iter(self.groups[0]["params"])).device
        return TrainingArguments(
            output_dir=str(self.room),
            max_steps=max(1, self.steps - self.past["step"]),
            per_device_train_batch_size=1,
            max_grad_norm=1.0,
            bf16=half(where) is not None,
            use_cpu=where.type == "cpu",
            seed=self.plan.seed,
            save_strategy="no",
            logging_strategy="no",
            eval_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )

    @property
    def steps(self) -> int:
        return int(self.ends[-1])

    def get_train_dataloader(self) -> Any:
        left = [batch for epoch in self.epochs for batch in epoch][self.past["step"] :]
        return torch.utils.data.DataLoader(
            list(self.rows),
            batch_sampler=left,
            collate_fn=self.data_collator,
            generator=torch.Generator().manual_seed(0),
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW (Loshchilov and Hutter 2019), with the groups that a strategy has made."""
        self.optimizer = torch.optim.AdamW(self.groups, fused=True)
        if self.past["step"]:
            self.optimizer.load_state_dict(self.past["optimiser"])
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        def share(step: int) -> float:
            return self.plan.rate(min(step + self.past["step"], self.steps - 1), self.steps)

        for group, given in zip(self.optimizer.param_groups, self.groups, strict=True):
            group["initial_lr"] = given["lr"]
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> Tensor:
        loss: Tensor = model(**inputs)
        self.loss += loss.detach()
        return loss


class Watch(TrainerCallback, AbstractContextManager["Watch"]):
    """Between two steps: the seed, the epoch's score, the best weights, the checkpoint."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.score = loop, loop.plan.score
        self.trained = Trained(**loop.past.get("trained", {}))
        self.best: dict[str, Tensor] | None = loop.past.get("best")
        self.signal, self.saved, self.note = 0, time.monotonic(), ""
        self.bar = Bar("fine-tuning", loop.steps, loop.past["step"])
        self.done = loop.past["step"]

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        plan = self.loop.plan
        torch.manual_seed(plan.seed * 1_000_003 + self.done)
        if self.done in (0, self.loop.past["step"], *self.loop.ends):
            plan.before_epoch(sum(end <= self.done for end in self.loop.ends))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.done += 1
        self.bar.advance(note=self.note)
        if self.done in self.loop.ends:
            self._judge()
        late = self.trained.scores[self.trained.epoch + 1 :] if self.score else []
        if self.loop.plan.patience and len(late) >= self.loop.plan.patience:
            control.should_training_stop = True
        minutes = (time.monotonic() - self.saved) / 60
        if self.signal or minutes >= self.loop.plan.checkpoint_minutes:
            self._save()
        if self.signal:
            print(f"stopped after step {self.done} of {self.loop.steps}; run it again to go on")
            raise Stopped(128 + self.signal)

    def _judge(self) -> None:
        """Score the epoch that has ended; without validation the last is the best."""
        trained = self.trained
        loss = float(self.loop.loss) / len(self.loop.epochs[len(trained.scores)])
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss of epoch {len(trained.scores) + 1} is {loss}; expected a number: take a"
                f" smaller learning_rate"
            )
        self.loop.loss.zero_()
        trained.losses.append(round(loss, 6))
        trained.scores.append(self.score() if self.score else 0.0)
        self.loop.plan.told(len(trained.scores) - 1, trained.scores[-1])
        said = f", validation {trained.scores[-1]:.4f}" if self.score else ""
        self.note = f"loss {loss:.3f}{said}"
        best = trained.scores[trained.epoch] if trained.epoch >= 0 else float("-inf")
        if self.score is None or trained.scores[-1] > best:
            trained.epoch = len(trained.scores) - 1
            last = self.done == self.loop.steps
            if self.score is not None and not last:
                state = self.loop.model.state_dict()
                self.best = {name: part.detach().cpu().clone() for name, part in state.items()}
            else:
                self.best = None  # the weights as they are

    def _save(self) -> None:
        state = {
            "step": self.done,
            "network": self.loop.model.state_dict(),
            "optimiser": self.loop.optimizer.state_dict(),
            "trained": vars(self.trained),
            "best": self.best,
            "loss": self.loop.loss,
        }
        try:
            resume.save(self.loop.room, state)
        except OSError as error:
            print(f"warning: no checkpoint is written; training goes on ({error})", flush=True)
        self.saved = time.monotonic()

    def __enter__(self) -> "Watch":
        def hear(number: int, _: object) -> None:
            self.signal = number

        self._before = {n: signal.signal(n, hear) for n in (signal.SIGTERM, signal.SIGINT)}
        self.bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.__exit__(*error)
        for number, handler in self._before.items():
            signal.signal(number, handler)


def train(
    network: nn.Module, rows: Sequence[Any], groups: list[Group], plan: Plan, room: Path
) -> Trained:
    """Train `network` in place; it ends with the weights of its best epoch by the plan's score.

    rows: as `network.collate` takes them, each with a `size` in tokens.
    """
    if not rows:
        raise StepError("no training examples; expected at least one")
    with trimmed(network, rows) as whole:
        if plan.score is not None:
            plan = replace(plan, score=_in(whole, plan.score))
        loop = Loop(network, rows, groups, plan, room)
        watch = Watch(loop)
        with watch:
            loop.add_callback(watch)
            if watch.done < loop.steps and not _enough(watch):
                gc.freeze()  # accelerate collects garbage first: half a second over the libraries
                loop.train()
                gc.unfreeze()
        if watch.best is not None:
            network.load_state_dict(watch.best)
    network.eval()
    return watch.trained


def _in(whole: Complete, score: Callable[[], float]) -> Callable[[], float]:
    def scored() -> float:
        with whole():
            return score()

    return scored


def _enough(watch: Watch) -> bool:
    plan, trained = watch.loop.plan, watch.trained
    late = len(trained.scores) - 1 - trained.epoch
    return bool(plan.patience and watch.score and trained.scores and late >= plan.patience)
