"""An exported folder's model as an ONNX graph, checked, in int8, and asked as a bundle is.

ONNX is the one way that int8 is made: its dynamic quantisation is kept up, and the graph is data
that runs in any language; torch's own is on its way out of torch, and what it makes is saved as
code to unpickle.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from steps.core.entry import StepError
from steps.core.files import read_json

MODEL, INT8 = "model.onnx", "model.int8.onnx"
INSTALL = "pip install -c infra/constraints.txt -e '.[export]'"
MOST_BYTES = 2_000_000_000  # of a file of ONNX, which is one message of protobuf
TOLERANCE = 1e-3  # of a logit, beside the largest
SHAPES = ((1, 3), (3, 17), (2, 0))  # rows and tokens that are tried; 0: as many as it reads
SEED = 7
HEADS = {"classifier", "pooler", "pre_classifier", "score"}  # as transformers names the parts
Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], np.ndarray]  # what a model reads -> logits


def require() -> None:
    """StepError where what makes and runs graphs is not installed."""
    from importlib.util import find_spec

    lacking = [name for name in ("onnx", "onnxruntime", "onnxscript") if not find_spec(name)]
    if lacking:
        raise StepError(f"{', '.join(lacking)} is not installed; run `{INSTALL}`")


def write(folder: Path) -> None:
    """Write model.onnx beside an exported model; StepError where the exporter does not take it, or
    the graph says something else than the model.
    """
    import torch

    model, names = _model(folder), inputs(folder)
    if sum(part.numel() * part.element_size() for part in model.parameters()) > MOST_BYTES:
        raise StepError("the model is over 2 GB, and a file of ONNX is not; leave out --onnx")
    longest = int(read_json(folder / "tokenizer_config.json")["model_max_length"])
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=longest)}
    ones = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
    with _quiet():
        try:
            torch.onnx.export(
                _positional(model, names),
                ones,
                str(folder / MODEL),
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=(tuple(sizes for _ in names),),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200]
            raise StepError(
                f"torch.onnx does not take this model ({said}); leave out --onnx and --quantize"
            ) from None
    _check(folder, model, names, longest)


def quantize(folder: Path) -> None:
    """Write model.int8.onnx: the encoder's matrix products in int8, each column at its own scale.

    The head stays: its layer between may carry numbers that eight bits cannot tell apart.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(folder / MODEL).graph.node
    kept = [node.name for node in nodes if any(HEADS & {*name.split(".")} for name in node.input)]
    with _quiet():
        quantize_dynamic(
            folder / MODEL,
            folder / INT8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=kept,
        )


def session(path: Path) -> Run:
    """Load a graph for this machine's processor."""
    import onnxruntime

    found = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(given: Arrays) -> np.ndarray:
        logits: np.ndarray = found.run(["logits"], given)[0]
        return logits

    return run


def inputs(folder: Path) -> list[str]:
    """What the model reads, in order."""
    found: list[str] = read_json(folder / "tokenizer_config.json")["model_input_names"]
    return found


def predictor(bundle: Path, folder: Path, run: Run) -> Any:
    """The bundle's predictor (windows, tags, temperature), whose logits the graph gives."""
    import torch

    from steps.tasks import task_type
    from steps.transfer import networks
    from steps.transfer.checkpoints import load_predictor

    reads, names = networks.Reads.load(bundle), inputs(folder)
    kind = task_type(reads.type)
    made = networks.network(kind.OUTPUT).load(bundle, bundle)
    ours = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "types"}

    def emissions(**batch: Any) -> Any:
        logits = run({name: batch[ours[name]].cpu().numpy() for name in names})
        if kind.LEVEL == "words":
            logits = logits[batch["rows"].cpu().numpy(), batch["columns"].cpu().numpy()]
        return torch.from_numpy(logits)

    made.emissions = emissions
    # its weights are divided by the temperature already
    return replace(
        load_predictor(bundle),
        scorer=lambda reading, items: made.scores(items, reading.batch_size),
        temperature=1.0,
    )


def _model(folder: Path) -> Any:
    import transformers

    name = read_json(folder / "config.json")["architectures"][0]
    with _quiet():
        model = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager")
    return model.eval()


def _positional(model: Any, names: list[str]) -> Any:
    """The model as a function of its inputs in order, and to its logits alone."""
    import torch

    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return self.model(**dict(zip(names, given, strict=True))).logits

    return Logits().eval()


def _check(folder: Path, model: Any, names: list[str], longest: int) -> None:
    """StepError unless the graph gives the model's logits, for rows of several sizes."""
    import torch

    run, draw = session(folder / MODEL), np.random.default_rng(SEED)
    words = int(read_json(folder / "config.json")["vocab_size"])
    for rows, tokens in SHAPES:
        size = (rows, tokens or longest)
        ids = draw.integers(0, words, size)
        mask = np.ones_like(ids)
        mask[-1, max(1, size[1] // 2) :] = 0
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        given = {name: known[name] for name in names}
        with torch.inference_mode():
            ours = model(**{n: torch.from_numpy(part) for n, part in given.items()}).logits.numpy()
        apart = np.abs(run(given) - ours)
        if ours.ndim == 3:  # of words: what padding says is not asked
            apart = apart[mask > 0]
        if not float(apart.max()) <= TOLERANCE * max(1.0, float(np.abs(ours).max())):
            raise StepError(
                f"the ONNX graph is {apart.max():.2g} off the model's logits; leave out --onnx"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries tell of their own parts that are lacking or old; no one here can mend them."""
    from transformers.utils import logging as of_transformers

    of_transformers.set_verbosity_error()
    of_transformers.disable_progress_bar()
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
