"""Networks: integrated gradients of a score over the embeddings of tokens, or attention.

Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks",
arXiv:1703.01365) go in steps from the text with every token masked, special tokens kept, to the
text itself; what they give adds up to the difference of the two scores, but for the steps' size.
Attention tells where a layer looked, not what that did to the score (Jain and Wallace 2019,
"Attention is not Explanation", arXiv:1902.10186).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from steps.core.params import Explain
from steps.tasks import task_type
from steps.transfer import networks
from steps.transfer.attribution import Explanation, Mark, Question
from steps.transfer.attribution.aims import Aim, of_answer, of_units
from steps.transfer.attribution.places import shortfall
from steps.transfer.families import MASKS
from steps.transfer.networks.encoder import Encoder, Inputs
from steps.transfer.networks.rows import Reader
from steps.transfer.networks.units import INPUTS

TOKENS = 4096  # read at once


class Network:
    """A bundle's network."""

    def __init__(self, bundle: Path, settings: Explain) -> None:
        reads = networks.Reads.load(bundle)
        self.kind, self.settings = task_type(reads.type), settings
        self.network = networks.network(self.kind.OUTPUT).load(bundle, bundle).eval()
        self.encoder: Encoder = self.network.encoder
        most = min(reads.max_tokens, self.encoder.limit)
        self.reader = Reader(self.encoder.tokenizer, self.kind.INPUTS, most, self.encoder.causal)

    def __call__(self, question: Question) -> Explanation:
        aim = (of_answer if self.kind.OUTPUT == "span" else of_units)(self.network, question)
        method = self.settings.method
        if aim is None or not aim.row.size:
            return Explanation(method, [], None)
        spots = self.reader.spots(question.item, aim.row)
        if method == "attention":
            return Explanation(method, list(self._marks(question, spots, self._seen(aim))), None)
        values, difference = self._integrated(aim, spots)
        marks = joined(list(self._marks(question, spots, values)), aim.plain)
        return Explanation(method, marks, shortfall(marks, difference + aim.whole))

    def _integrated(self, aim: Aim, spots: np.ndarray) -> tuple[np.ndarray, float]:
        """What each token adds: (tokens,), and the difference that they should add up to."""
        from captum.attr import LayerIntegratedGradients

        ids = aim.batch["ids"]
        special = torch.from_numpy(spots[:, 0] < 0).to(ids.device)
        masked = torch.where(special, ids, blank(self.encoder))
        gradients = LayerIntegratedGradients(aim.score, self.encoder.model.get_input_embeddings())
        found = gradients.attribute(
            ids,
            masked,
            n_steps=self.settings.steps,
            internal_batch_size=max(1, TOKENS // ids.shape[1]),
        )
        with torch.inference_mode():
            difference = float(aim.score(ids) - aim.score(masked))
        return found.detach().sum(dim=-1)[0].cpu().numpy(), difference

    @torch.inference_mode()
    def _seen(self, aim: Aim) -> np.ndarray:
        """How much the tokens that the score is made of look at each token: (tokens,)."""
        found = self.encoder.attention(Inputs(*(aim.batch[name] for name in INPUTS)))
        seen: np.ndarray = found[0].float().cpu().numpy()[aim.looking].mean(axis=0)
        return seen

    def _marks(self, question: Question, spots: np.ndarray, values: np.ndarray) -> Iterator[Mark]:
        """One for each token that has characters, without white space around them."""
        for (field, start, end), value in zip(spots.tolist(), values.tolist(), strict=True):
            if field < 0:
                continue
            name = self.kind.INPUTS[field]
            said = question.item[name][start:end]
            first = start + len(said) - len(said.lstrip())
            if said.strip():
                yield Mark(name, first, first + len(said.strip()), value)


def blank(encoder: Encoder) -> int:
    """The token that says nothing: the mask, else padding, else the end of a text."""
    masks = [encoder.tokenizer.token_to_id(token) for token in MASKS]
    config = encoder.config
    ends = [getattr(config, name, None) for name in ("pad_token_id", "eos_token_id")]
    return next((n for n in (*masks, *ends) if isinstance(n, int) and n >= 0), 0)


def joined(tokens: list[Mark], words: list[Mark]) -> list[Mark]:
    """Share what each word adds among its tokens; a word that no token has keeps its own mark."""
    found, more = list(tokens), []
    for word in words:
        own = [n for n, token in enumerate(tokens) if _touch(token, word)]
        for n in own:
            found[n] = replace(found[n], value=found[n].value + word.value / len(own))
        more += [] if own else [word]
    return sorted(found + more, key=lambda mark: (mark.field, mark.start, mark.end))


def _touch(one: Mark, other: Mark) -> bool:
    return one.field == other.field and one.start < other.end and other.start < one.end
