"""While a network is trained its embeddings are those of the tokens that its rows hold.

The gradients of all others are zero; an optimiser that looks at every row of a large vocabulary
takes longer for that than for the encoder's layers. The others stay as they were pretrained: weight
decay, which would shrink them, does not reach them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

Complete = Callable[[], AbstractContextManager[None]]


@contextmanager
def trimmed(network: nn.Module, rows: Sequence[Any]) -> Iterator[Complete]:
    """Give what makes the network whole for a while, as for texts that are not trained on."""
    model = getattr(getattr(network, "encoder", None), "model", None)
    module = model.get_input_embeddings() if model is not None else None
    if not isinstance(module, nn.Embedding) or not _alone(module, network):
        yield nullcontext
        return
    part = Part(module, tokens(network, rows, model.config.pad_token_id))
    part.cut()
    try:
        yield part.complete
    finally:
        part.mend()


def _alone(module: nn.Embedding, network: nn.Module) -> bool:
    """Whether its weights are the network's to train, and those of no other module, as of a head
    that predicts words.
    """
    users = [m for m in network.modules() if m._parameters.get("weight") is module.weight]
    return users == [module] and module.weight.requires_grad


class Part:
    """Some rows of an embedding, in the very parameter that held them all."""

    def __init__(self, module: nn.Embedding, ids: Tensor) -> None:
        where = module.weight.device
        self.module, self.ids, self.padding = module, ids.to(where), module.padding_idx
        self.place = torch.zeros(len(module.weight), dtype=torch.long, device=where)
        self.place[self.ids] = torch.arange(len(ids), device=where)
        self.whole = module.weight.data

    def cut(self) -> None:
        self.module.weight.data = self.whole[self.ids]
        if self.padding is not None:
            self.module.padding_idx = int(self.place[self.padding])
        self.hook = self.module.register_forward_pre_hook(lambda _, given: (self.place[given[0]],))

    def mend(self) -> None:
        self.whole[self.ids] = self.module.weight.data
        self.module.weight.data, self.module.padding_idx = self.whole, self.padding
        self.hook.remove()

    @contextmanager
    def complete(self) -> Iterator[None]:
        self.mend()
        try:
            yield
        finally:
            self.cut()


def tokens(network: nn.Module, rows: Sequence[Any], padding: int | None) -> Tensor:
    """The numbers of all tokens in the rows, sorted, that of padding among them."""
    found = {padding or 0}
    for row in rows:
        batch = network.collate([row])
        for name, part in batch.items():
            if name.endswith("ids"):
                found |= set(part.flatten().tolist())
    return torch.tensor(sorted(found))
