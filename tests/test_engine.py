"""OpenVINO says of rows what torch says of them, or is left alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from steps.transfer import engine
from steps.transfer.loop import autocast, half, settle
from steps.transfer.networks.encoder import Encoder
from steps.transfer.networks.rows import Row
from tests.families import FAMILIES, make_family

pytest.importorskip("openvino")
SIZES = (40, 1, 17, 17, 3)
LEFT = {"xlm"}  # to torch: the exporter does not take it
QUICK = {"bert", "deberta-v2", "gpt2", "modernbert", "t5", "xlm"}
KINDS = [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in FAMILIES]


def scorer(encoder: Any) -> Any:
    return SimpleNamespace(network=SimpleNamespace(encoder=encoder))


def said(encoder: Encoder, sizes: tuple[int, ...] = SIZES) -> list[torch.Tensor]:
    """The vectors of rows of these many tokens."""
    draw, none = np.random.default_rng(1), np.zeros(0, dtype=np.int64)
    ids = [draw.integers(0, encoder.config.vocab_size, min(n, encoder.limit)) for n in sizes]
    rows = [Row(at, one, np.zeros_like(one), none, none, none) for at, one in enumerate(ids)]
    with torch.inference_mode(), autocast(encoder.device):
        hidden = encoder(encoder.inputs(rows)).float()
    return [hidden[at, : row.size] for at, row in enumerate(rows)]


def off(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_is_read_as_torch_reads_it(kind: str, tmp_path: Path) -> None:
    encoder = Encoder(make_family(kind, tmp_path / kind))
    before = said(encoder)
    why = engine.quicken(scorer(encoder))
    assert bool(why) == (kind in LEFT), why
    assert (encoder.engine is None) == bool(why)
    near = engine.NEAR[half(encoder.device)] if encoder.engine else 0
    assert off(said(encoder), before) <= near


def test_what_says_something_else_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(make_family("bert", tmp_path))
    before = said(encoder)
    monkeypatch.setattr(engine, "NEAR", dict.fromkeys(engine.NEAR, -1.0))
    assert "says something else" in engine.quicken(scorer(encoder))
    assert off(said(encoder), before) == 0


def test_what_has_no_encoder_is_left_alone() -> None:
    assert (
        engine.quicken(None) == engine.quicken(scorer(object())) == "there is no encoder on a CPU"
    )


def test_weights_that_are_kept_as_they_are_cast_say_the_same(tmp_path: Path) -> None:
    encoder = Encoder(make_family("bert", tmp_path))
    before = said(encoder)
    settle(encoder)
    assert off(said(encoder), before) == 0
