"""What int8 costs a model, and what it is worth: the judge on the test set, bytes, latency."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pipelines import onnx_graph
from pipelines.facts import SPLITS
from steps.core.entry import StepError
from steps.core.params import Params
from steps.judge.bootstrap import Interval, Paired, Resamples, verdict
from steps.judge.load import References, read_references
from steps.judge.metrics import Metric, metric_for, stack
from steps.tasks import Prediction
from steps.transfer.starts import WEIGHTS

SINGLES = 50  # texts that latency is measured on, one at a time
Predict = Callable[[list[dict[str, Any]]], list[Prediction]]


@dataclass(frozen=True)
class Side:
    """A model: its metric on test, its bytes, the median milliseconds of a text alone."""

    score: Interval
    bytes: int
    latency_ms: float


@dataclass(frozen=True)
class Judged:
    """Before and after; `difference` is how much better int8 is."""

    metric: str
    items: int
    before: Side
    after: Side
    difference: Paired
    margin: float

    @property
    def verdict(self) -> str:
        return verdict(self.difference)

    @property
    def refused(self) -> bool:
        """Whether it is shown worse, and by more than is allowed."""
        return self.verdict == "refuse" and self.difference.difference < -self.margin


class Refused(Exception):
    """An int8 model that is not written; `judged` says why."""

    def __init__(self, judged: Judged) -> None:
        super().__init__(judged.verdict)
        self.judged = judged


def judge(task: str, bundle: Path, folder: Path, params: Params) -> Judged:
    """Compare a folder's int8 graph with its bundle on the task's test set, item by item.

    StepError where the test set is not there.
    """
    from steps.transfer.checkpoints import load_predictor

    splits = SPLITS / task
    if not (splits / "test.parquet").exists():
        raise StepError(
            f"no {splits}, by whose test set int8 is judged; run `dvc repro split@{task}` (or"
            " `dvc pull`)"
        )
    references = read_references(splits, "test")
    metric = metric_for(params.tasks[task].metric, references.kind)
    run = onnx_graph.session(folder / onnx_graph.INT8)
    models: dict[str, Predict] = {
        "before": load_predictor(bundle).predictions,
        "after": onnx_graph.predictor(bundle, folder, run).predictions,
    }
    counts = {name: _counts(model, references, metric) for name, model in models.items()}
    drawn = Resamples(counts, metric, params.judge)
    files = {"before": folder / WEIGHTS, "after": folder / onnx_graph.INT8}
    sides = {
        name: Side(
            drawn.interval(name), files[name].stat().st_size, _latency(model, references.examples)
        )
        for name, model in models.items()
    }
    return Judged(
        metric.title,
        len(references.ids),
        sides["before"],
        sides["after"],
        drawn.paired("after", "before"),
        params.gate.int8_margin,
    )


def _counts(model: Predict, references: References, metric: Metric) -> Any:
    values = [one.value for one in model(references.examples)]
    return stack(metric, references.values, [values], references.labels)


def _latency(model: Predict, rows: Sequence[dict[str, Any]]) -> float:
    waits = []
    model([rows[0]])
    for row in rows[:SINGLES]:
        began = time.perf_counter()
        model([row])
        waits.append(time.perf_counter() - began)
    return 1000 * float(np.median(waits))


def show(found: Judged, out: TextIO) -> None:
    """Print the table, and the verdict under it."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", found.metric, "interval", "MB", "ms a text")
    for name, side in (("before", found.before), ("int8", found.after)):
        table.add_row(
            name,
            f"{side.score.value:.3f}",
            f"{side.score.low:.3f} to {side.score.high:.3f}",
            f"{side.bytes / 1e6:.1f}",
            f"{side.latency_ms:.1f}",
        )
    Console(file=out, width=80).print(table)
    out.write(f"{sentence(found)}\n")


def sentence(found: Judged) -> str:
    """The verdict in words."""
    gain = found.difference
    said = (
        f"int8 against before: {gain.difference:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}; more is"
        f" better) on {found.items} test items, {found.verdict}"
    )
    if found.refused:
        return f"{said}, worse by more than gate.int8_margin, {found.margin:g}: nothing is written"
    return said
