"""The step of adaptation: logits at the masked positions alone, against logits everywhere.

    python -m tests.bench.adapt [START]

START is a checkpoint of a masked language model or an encoder (the demo's by default). One JSON
line a pair, the median ratio last.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from steps.adapt import read_masker, read_model
from steps.transfer.loop import autocast, optimiser, set_dropout, update
from steps.transfer.objectives import Masker, PickedLogits, loss_sum, model_inputs
from steps.transfer.packing import Blocks

PAIRS, STEPS = 5, 2


def blocks(vocabulary: int) -> Blocks:
    """16 full blocks of 128 tokens, one document each."""
    tokens = np.random.default_rng(0).integers(1000, vocabulary, (16, 128)).astype(np.uint32)
    return Blocks(tokens, np.ones_like(tokens, dtype=np.uint16))


def seconds(model: nn.Module, masker: Masker, data: Blocks, everywhere: bool) -> float:
    """Time STEPS steps, each with the optimiser's part."""
    optim = optimiser(model.named_parameters(), 1e-5, 0.0)
    ids, picked = masker(data, np.random.default_rng(1))
    chosen = torch.from_numpy(picked)
    targets = torch.from_numpy(data.tokens.astype(np.int64))[chosen]
    began = time.perf_counter()
    for _ in range(STEPS):
        with autocast(torch.device("cpu")):
            inputs = model_inputs(data, ids, model)
            logits: Tensor = (
                model(**inputs).logits[chosen]
                if everywhere
                else PickedLogits(model)(inputs, chosen)
            )
            loss = loss_sum(logits, targets) / len(targets)
        update(loss, optim, 1e-5)
    return time.perf_counter() - began


def main(start: Path) -> None:
    model, _ = read_model(start, 0)
    model = model.to("cpu").train()
    set_dropout(model, 0.0)
    masker = read_masker(start, 0.25)
    data = blocks(masker.vocabulary)
    seconds(model, masker, data, everywhere=False)
    ratios = []
    for _ in range(PAIRS):
        slow, fast = (seconds(model, masker, data, everywhere) for everywhere in (True, False))
        ratios.append(slow / fast)
        speeds = {
            name: round(STEPS * data.size / s) for name, s in (("all", slow), ("picked", fast))
        }
        print(json.dumps({"tokens_per_second": speeds, "ratio": round(ratios[-1], 3)}))
    print(json.dumps({"median_ratio": round(statistics.median(ratios), 3), "pairs": PAIRS}))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/raw/minilm"))
