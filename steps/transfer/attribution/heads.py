"""Where each attention head of a network looks, from the tokens that an answer is read off."""

from pathlib import Path
from typing import Any

import torch

from steps.core.params import Explain
from steps.transfer.attribution import Mark, Question
from steps.transfer.attribution.aims import of_answer, of_units
from steps.transfer.attribution.gradients import Network
from steps.transfer.networks.encoder import Inputs
from steps.transfer.networks.units import INPUTS

SETTINGS = Explain(method="attention", steps=1, errors=1)
Layers = list[list[list[Mark]]]  # a layer -> a head -> a mark a token: its share of the look


class Heads(Network):
    """A bundle's network; what it saw is read where `attention` makes it look."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(bundle, SETTINGS)

    @torch.inference_mode()
    def each(self, question: Question) -> Layers:
        """From the lowest layer to the last; [] where there is nothing to ask about."""
        aim = (of_answer if self.kind.OUTPUT == "span" else of_units)(self.network, question)
        if aim is None or not aim.row.size:
            return []
        seen: list[Any] = []
        catch = self.encoder.model.register_forward_hook(
            lambda _module, _given, made: seen.extend(made.attentions)
        )
        try:
            self.encoder.attention(Inputs(*(aim.batch[name] for name in INPUTS)))
        finally:
            catch.remove()
        spots = self.reader.spots(question.item, aim.row)
        looks = [layer[0].float()[:, aim.looking].mean(dim=1).cpu().numpy() for layer in seen]
        return [
            [list(self._marks(question, spots, head)) for head in layer]  # (heads, tokens)
            for layer in looks
        ]
