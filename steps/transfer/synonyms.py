"""Words whose input embeddings in a pretrained model are near: for want of a thesaurus."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from steps.transfer.networks.encoder import Encoder
from steps.transfer.strategies import Material

NEAREST = 5
LEAST = 0.3  # cosine; below that, words of one kind are as near as any others
LETTERS = 3  # of a word at least: shorter ones are mostly what holds a sentence together
WORD = re.compile(rf"[^\W\d_]{{{LETTERS},}}")


def near_words(start: Path, material: Material) -> dict[str, list[str]]:
    """For each word of the training texts that is one token, the nearest of all such words."""
    encoder = Encoder(start)
    fields = material.type.INPUTS
    texts = [example[name] for example in material.examples for name in fields]
    wanted = sorted({word.casefold() for text in texts for word in WORD.findall(text)})
    weights = encoder.model.get_input_embeddings().weight.detach().cpu().float()
    return nearest(wanted, *whole_words(encoder.tokenizer, len(weights)), weights)


def whole_words(tokenizer: Tokenizer, size: int) -> tuple[list[str], list[int]]:
    """The words, without case, that are one token after a space, and its number."""
    found: dict[str, int] = {}
    tokenizer.no_truncation()
    texts = [tokenizer.decode([number]).strip() for number in range(size)]
    encoded = tokenizer.encode_batch([f" {text}" for text in texts], add_special_tokens=False)
    for number, (text, encoding) in enumerate(zip(texts, encoded, strict=True)):
        if WORD.fullmatch(text) and encoding.ids == [number]:
            found.setdefault(text.casefold(), number)
    return list(found), list(found.values())


def nearest(
    wanted: Sequence[str], words: list[str], numbers: list[int], weights: torch.Tensor
) -> dict[str, list[str]]:
    """The NEAREST others of each wanted word, the nearest first; a word that has none is left out.

    weights: (tokens, width).
    """
    vectors = torch.nn.functional.normalize(weights[numbers], dim=-1)
    place = {word: at for at, word in enumerate(words)}
    known = [word for word in wanted if word in place]
    found = {}
    for at in range(0, len(known), 256):
        part = known[at : at + 256]
        likeness = (vectors[[place[word] for word in part]] @ vectors.T).numpy()
        for word, row in zip(part, likeness, strict=True):
            row[place[word]] = -1.0
            best = np.argsort(-row, kind="stable")[:NEAREST]
            if near := [words[other] for other in best if row[other] >= LEAST]:
                found[word] = near
    return found
