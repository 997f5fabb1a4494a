"""A pretrained model that goes on with a text, or writes another: translation, summary, next words.

An encoder-decoder reads the item and writes the target; a causal model writes it after the item, as
Radford et al. 2019 ("Language Models are Unsupervised Multitask Learners", 3.6 and 3.7) have it.
What is read is cut off at max_tokens, a target never.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from steps.tasks import Item, task_type
from steps.transfer.losses import loss_sum
from steps.transfer.networks import Reads, Shape, hold
from steps.transfer.networks.rows import Reader
from steps.transfer.networks.writer import Row, Writer
from steps.transfer.strategies import Material

ROOM = 1.5  # a text may be so many times as long as the longest of training
ASKS = {"translation": " =", "summarisation": "\nTL;DR:"}  # what a causal model goes on after
MEASURED = ("generation",)  # types whose targets' probability is asked for


class Network(nn.Module):
    """`encoder` is all of the pretrained model; it has this name in each network."""

    def __init__(self, encoder: Writer, reads: Reads) -> None:
        super().__init__()
        hold(self, encoder, reads.shape.frozen)
        self.reads, self.task = reads, task_type(reads.type)

    @classmethod
    def build(cls, start: Path, material: Material, shape: Shape) -> "Network":
        shape.only("frozen", "beams")
        reads = Reads(material.task, material.classes, material.max_tokens, shape)
        made = cls(Writer(start), reads)
        longest = max((len(part) for part in made.targets(material.examples)), default=0)
        made.reads = replace(reads, longest=made.fitting(int(ROOM * longest)))
        return made

    @classmethod
    def load(cls, start: Path, weights: Path) -> "Network":
        reads = Reads.load(weights)
        return cls(Writer(start, None if reads.shape.frozen else weights), reads).eval()

    def save(self, out: Path) -> None:
        self.reads.save(out)
        if not self.reads.shape.frozen:
            self.encoder.save(out)

    def fitting(self, tokens: int) -> int:
        """So many tokens, or as many as may be written where a prompt needs room, too."""
        limit = self.encoder.limit
        if limit is None:
            return tokens
        return min(tokens, limit // 2 if self.encoder.causal else limit - len(self.encoder.lead))

    def rows(self, examples: Sequence[Item], learn: bool) -> list[Row]:
        prompts = self._prompts(examples)
        if not learn:
            return prompts
        pairs = zip(prompts, self.targets(examples), strict=True)
        return [row for pair in pairs for row in _windows(*pair, self.encoder.limit)]

    def _prompts(self, items: Sequence[Item]) -> list[Row]:
        """What is known of each item before anything of its target is."""
        writer, nothing = self.encoder, np.zeros(0, dtype=np.int64)
        most = min(self.reads.max_tokens, writer.limit or self.reads.max_tokens)
        if not writer.causal:
            read = Reader(writer.tokenizer, self.task.INPUTS, most).whole(items)
            lead = np.array(writer.lead, dtype=np.int64)
            end = np.array([writer.end])  # of a tokenizer that adds none to an empty text
            return [Row(r.item, r.ids if r.size else end, lead, len(lead)) for r in read]
        most = min(most, writer.limit - self.reads.longest) if writer.limit else most
        prompts = [self._prompt(item, most) for item in items]
        return [Row(n, nothing, prompt, len(prompt)) for n, prompt in enumerate(prompts)]

    def _prompt(self, item: Item, most: int) -> np.ndarray:
        """The item's text and what asks for the target; of a long one the end is kept where the
        target continues it, else the beginning.
        """
        ask = self._ids(ASKS.get(self.reads.type, ""))
        lead = self.encoder.lead
        room = max(0, most - len(lead) - len(ask))
        ids = self._ids(self._text(item).rstrip())
        kept = ids[:room] if ask else ids[max(0, len(ids) - room) :]
        whole = [*lead, *kept, *ask] or [self.encoder.end]  # something must come before
        return np.array(whole, dtype=np.int64)

    def _text(self, item: Item) -> str:
        return "\n".join(str(item[name]) for name in self.task.INPUTS)

    def targets(self, examples: Sequence[Item]) -> list[np.ndarray]:
        """The tokens of each target, and the one that ends it."""
        return [np.array([*self._target(e), self.encoder.end], dtype=np.int64) for e in examples]

    def _target(self, example: Item) -> list[int]:
        target, text = str(example["target"]).strip(), self._text(example)
        if not self.encoder.causal or not text.strip():
            return self._ids(target)
        gap = text[len(text.rstrip()) :] + _margin(str(example["target"]))
        gap = " " if self.reads.type in ASKS else gap or " "
        found = self.encoder.tokenizer.encode(f"a{gap}{target}", add_special_tokens=False)
        # how a token begins depends on what is before it; the "a" is not meant
        return [n for n, (_, end) in zip(found.ids, found.offsets, strict=True) if end > 1]

    def _ids(self, text: str) -> list[int]:
        self.encoder.tokenizer.no_truncation()
        found: list[int] = self.encoder.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return self.encoder.teaching(rows)

    def forward(self, picked: Tensor, targets: Tensor, **inputs: Tensor) -> Tensor:
        """Mean loss over the targets' tokens."""
        return loss_sum(self.encoder.logits(picked, **inputs), targets) / len(targets)

    def scores(self, items: Sequence[Item], batch_size: int) -> list[dict[str, Any]]:
        """A dict for each item: text, confidence (the mean probability of a token, geometric), and
        loss and words of its target, None where they are not asked for.

        All in float32: a rounding may make another word of one, and all that come after it.
        """
        self.eval()
        rows = self.rows(items, learn=False)
        found: list[dict[str, Any]] = [{"loss": None, "words": None} for _ in items]
        for batch in _batches(rows, batch_size):
            written = self.encoder.write(batch, self.reads.longest, self.reads.shape.beams)
            for row, (tokens, sure) in zip(batch, written, strict=True):
                text = self.encoder.tokenizer.decode(tokens, skip_special_tokens=True).strip()
                found[row.item] |= {"text": text, "confidence": float(np.exp(sure))}
        if self.reads.type in MEASURED:
            self._measure(items, found, batch_size)
        return found

    def _measure(self, items: Sequence[Item], found: list[dict[str, Any]], batch_size: int) -> None:
        having = [n for n, item in enumerate(items) if isinstance(item.get("target"), str)]
        for n in having:
            found[n] |= {"loss": 0.0, "words": len(str(items[n]["target"]).split())}
        rows = self.rows([items[n] for n in having], learn=True)
        for batch in _batches(rows, batch_size):
            for row, loss in zip(batch, self.encoder.losses(batch), strict=True):
                found[having[row.item]]["loss"] += loss

    def groups(self) -> list[list[nn.Parameter]]:
        return [] if self.reads.shape.frozen else self.encoder.groups()


def _windows(prompt: Row, target: np.ndarray, limit: int | None) -> Iterator[Row]:
    """The prompt and the target in one row; where a model has too few positions in several, each
    of which begins with the last half of what was before. No token of a target is lost.
    """
    whole = np.concatenate([prompt.tokens, target])
    start, known = 0, prompt.known
    while known < len(whole):
        end = min(start + limit + 1, len(whole)) if limit else len(whole)
        yield replace(prompt, tokens=whole[start:end], known=known - start)
        start, known = end - (limit or 0) // 2, end


def _batches(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """Rows of like lengths together."""
    order = sorted(rows, key=lambda row: row.size)
    for at in range(0, len(order), size):
        yield order[at : at + size]


def _margin(text: str) -> str:
    """The white space that a text begins with."""
    return text[: len(text) - len(text.lstrip())]
