"""Words that a base's tokenizer cannot spell: where they are many, a model reads with gaps."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from steps.core.tokenizer import read_tokenizer
from steps.judge.calibration import WORD
from steps.judge.load import References
from steps.judge.slices import UNKNOWN

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SOME = 0.05  # share of a text's words up to which they are some, not many


def read_by(references: References, kinds: Sequence[str], start: Path) -> References:
    """Give each example its slice of kind `unknown_tokens`, where the task asks for that kind.

    By the tokenizer of the folder `start`; StepError where it has none.
    """
    if UNKNOWN not in kinds:
        return references
    tokenizer, unknown = read_tokenizer(start)
    examples = [
        example | {UNKNOWN: named(unknown_share(example["text"], tokenizer, unknown))}
        for example in references.examples
    ]
    return replace(references, examples=examples)


def named(share: float) -> str:
    """Name the slice of a share of unknown words."""
    if not share:
        return "none"
    return "some" if share <= SOME else "many"


def unknown_share(text: str, tokenizer: "Tokenizer", unknown: int | None) -> float:
    """Share of the words and signs of which any part is read as the unknown token.

    None is where the tokenizer has no such token: one of bytes spells everything.
    """
    read = tokenizer.encode(text, add_special_tokens=False)
    pairs = zip(read.ids, read.offsets, strict=True)
    gaps = [bounds for token, bounds in pairs if token == unknown]
    words = [word.span() for word in WORD.finditer(text)] if gaps else []
    torn = [any(low < end and high > first for low, high in gaps) for first, end in words]
    return sum(torn) / len(torn) if torn else 0.0
