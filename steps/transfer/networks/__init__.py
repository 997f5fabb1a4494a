"""Networks: for each output of a task (steps.tasks.OUTPUTS) a model that is trained and gives it.

A network is an `nn.Module` with

    build(start, material, shape) -> Network    a pretrained model with a new head
    load(start, weights) -> Network             what `save` has written
    save(out)
    rows(examples, learn) -> list               examples as they are trained on, tokenised; each
                                                has a `size` in tokens; `learn`: with targets
    collate(rows) -> dict of tensors            a batch
    forward(**batch) -> Tensor                  its loss, a mean over what the batch holds
    scores(items, batch_size) -> list           a raw for each item; see steps.tasks.OUTPUTS
    groups() -> list of lists of weights        from the embeddings up to the head
"""

import importlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from steps.core.entry import StepError
from steps.core.files import read_json, write_json
from steps.tasks import task_type
from steps.transfer.strategies import Reading

NETWORKS = {
    "classes": "steps.transfer.networks.units",
    "labels": "steps.transfer.networks.units",
    "number": "steps.transfer.networks.units",
    "span": "steps.transfer.networks.span",
    "text": "steps.transfer.networks.text",
    "vector": "steps.transfer.networks.vector",
}
ABOUT = "network.json"


@dataclass(frozen=True)
class Shape:
    """How a network's head is made.

    pool: the vector of a whole text: "mean", "first" (token) or "concat" (last, mean and largest,
    of ULMFiT).
    crf: neighbouring units' classes are weighed together. wide: plain features of a unit are read
    beside its vector. mix: the vector is a learned mix of all layers. lstm: width of a layer that
    reads the units' vectors in both directions, 0 for none. dropped: of the last layers so many are
    left out. frozen: the encoder is as it was in the start, and not saved. beams: a text is the
    best of so many that are written side by side.
    """

    pool: str = "mean"
    crf: bool = False
    wide: bool = False
    mix: bool = False
    lstm: int = 0
    dropped: int = 0
    frozen: bool = False
    beams: int = 1

    def only(self, *known: str) -> None:
        """StepError where another knob than these is set: a network that has it not says so."""
        for knob in fields(self):
            if knob.name not in known and getattr(self, knob.name) != knob.default:
                raise StepError(
                    f"the network for this kind of task has no {knob.name}; take it out of the"
                    " recipe, or name the tasks that the recipe is for, `tasks: [...]`"
                )


@dataclass(frozen=True)
class Reads:
    """What a network was made for; it is saved beside its weights.

    longest: the most tokens of a text that it writes.
    """

    type: str
    classes: list[str]
    max_tokens: int
    shape: Shape = field(default_factory=Shape)
    longest: int = 0

    def save(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / ABOUT, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Reads":
        about = read_json(folder / ABOUT)
        return cls(**about | {"shape": Shape(**about["shape"])})


def hold(made: Any, encoder: Any, frozen: bool) -> None:
    """Give a network its encoder; a frozen one is no part of it: neither trained nor saved."""
    if frozen:
        made.__dict__["encoder"] = encoder.requires_grad_(False)
    else:
        made.encoder = encoder


def network(output: str) -> Any:
    """The class `Network` for an output."""
    return importlib.import_module(NETWORKS[output]).Network


@dataclass(frozen=True)
class Answers:
    """A network as a scorer."""

    network: Any

    def __call__(self, reading: Reading, items: list[dict[str, Any]]) -> list[Any]:
        raws: list[Any] = self.network.scores(items, reading.batch_size)
        return raws


def load(start: Path, weights: Path) -> Answers:
    """Load what a network's `save` has written, as a scorer."""
    reads = Reads.load(weights)
    output = task_type(reads.type).OUTPUT
    made = network(output).load(start, weights)
    if output != "text":  # which is written in float32
        from steps.transfer.loop import settle

        settle(made.encoder)
    return Answers(made)
