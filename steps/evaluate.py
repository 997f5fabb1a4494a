"""Stage `evaluate`: a candidate + test -> a prediction for each item, metrics, calibration, costs.

python -m steps.evaluate TASK RECIPE SPLITS START CANDIDATE OUT METRICS CURVE
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from steps.core.entry import run
from steps.core.files import read_json, read_rows, whole, write_json, write_rows
from steps.core.params import Task, choose, load
from steps.judge.calibration import Sureness, pooled, sureness, temperature
from steps.judge.metrics import compute
from steps.tasks import Prediction, task_type
from steps.transfer.checkpoints import Predictor, checkpoint_files, load_candidate

PARTS = ("validation", "test")
SINGLES = 50  # texts that latency is measured on, one at a time
SECONDS = 1.5  # after which no more are begun
SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("seed", pa.int64()),
        ("id", pa.string()),
        ("prediction", pa.string()),
        ("confidence", pa.float64()),
        ("probabilities", pa.list_(pa.float64())),
    ]
)
Rows = list[dict[str, Any]]
ByFolder = dict[str, list[Prediction]]  # a seed's weights folder -> its predictions


def evaluate(
    start: Path, candidate: Path, parts: dict[str, Rows], batch_size: int
) -> tuple[dict[str, ByFolder], dict[str, float]]:
    """Predict each part by each seed's weights; also return how long that takes.

    `seconds_per_1000` texts, the median over seeds and parts, and the `latency` of the first seed.
    """
    folders = sorted(set(read_json(candidate / "candidate.json")["weights"].values()))
    found: dict[str, ByFolder] = {part: {} for part in parts}
    seconds, waits = [], {}
    for folder in folders:
        predictor = load_candidate(start, candidate, folder, batch_size)
        for part, rows in parts.items():
            began = time.perf_counter()
            found[part][folder] = predictor.predictions(rows)
            seconds.append((time.perf_counter() - began) / max(1, len(rows)))
        waits = waits or latency(predictor, parts["test"])
    return found, {"seconds_per_1000": round(float(np.median(seconds)) * 1000, 3), **waits}


def latency(predictor: Predictor, rows: Rows) -> dict[str, float]:
    """Milliseconds that a user waits for one text alone: median, 95th percentile.

    Of the fields that a user gives, and of texts that are warm: the first is read twice.
    """
    items = [{name: row[name] for name in predictor.type.INPUTS} for row in rows[:SINGLES]]
    predictor.predictions(items[:1])
    waits: list[float] = []
    for item in items:
        if sum(waits) > SECONDS:
            break
        began = time.perf_counter()
        predictor.predictions([item])
        waits.append(time.perf_counter() - began)
    middle, late = (1000 * float(np.percentile(waits, share)) for share in (50, 95))
    return {"latency_ms": round(middle, 3), "latency_ms_p95": round(late, 3)}


def table(about: dict[str, Any], parts: dict[str, Rows], found: dict[str, ByFolder]) -> Rows:
    """One row for each part, seed and item."""
    return [
        {
            "split": part,
            "seed": int(seed),
            "id": row["id"],
            "prediction": json.dumps(prediction.value, ensure_ascii=False),
            "confidence": prediction.confidence,
            "probabilities": prediction.probabilities,
        }
        for part, rows in parts.items()
        for seed, folder in sorted(about["weights"].items())
        for row, prediction in zip(rows, found[part][folder], strict=True)
    ]


def scores(
    about: dict[str, Any], task: Task, parts: dict[str, Rows], found: dict[str, ByFolder]
) -> dict[str, Any]:
    """Score each part: mean and standard deviation over seeds."""
    kind = task_type(about["type"])
    said = {}
    for part, rows in parts.items():
        references = [kind.reference(row) for row in rows]
        by_folder = {
            folder: compute(
                task.metric, references, [item.value for item in predictions], about["labels"]
            )
            for folder, predictions in found[part].items()
        }
        values = [by_folder[folder] for folder in about["weights"].values()]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        said[part] = {"mean": round(float(np.mean(values)), 6), "sd": round(spread, 6)}
    return said


def fit(
    about: dict[str, Any], parts: dict[str, Rows], found: dict[str, ByFolder], bins: int
) -> tuple[dict[str, Any], Rows]:
    """Calibration on test, all seeds together, as it is and at each seed's temperature; the curve.

    A temperature is found on validation; where there are no probabilities, what is scaled is None.
    """
    by_folder = {
        folder: temperature(_sureness(about, parts["validation"], said), bins)
        for folder, said in found["validation"].items()
    }
    raw = {folder: _sureness(about, parts["test"], said) for folder, said in found["test"].items()}
    after = pooled([one.scaled(by_folder[folder] or 1.0) for folder, one in raw.items()])
    before = pooled(list(raw.values()))
    was, now = before.calibration(bins), after.calibration(bins)
    by_seed = {seed: by_folder[folder] for seed, folder in about["weights"].items()}
    known = [one for one in by_seed.values() if one is not None]
    return {
        "ece": was["ece"],
        "brier": before.brier,
        "ece_scaled": now["ece"] if known else None,
        "brier_scaled": after.brier if known else None,
        "temperature": round(float(np.median(known)), 6) if known else None,
        "temperatures": by_seed if known else {},
    }, was["curve"]


def _sureness(about: dict[str, Any], rows: Rows, said: list[Prediction]) -> Sureness:
    kind = task_type(about["type"])
    texts, references = [row["text"] for row in rows], [kind.reference(row) for row in rows]
    return sureness(about["type"], about["classes"], texts, references, said)


def main(
    splits: Path, start: Path, candidate: Path, out: Path, metrics: Path, calibration_curve: Path
) -> None:
    params = load()
    about = read_json(candidate / "candidate.json")
    if "left_out" in about:
        for file, said in (
            (out / "candidate.json", about),
            (metrics, {"left_out": about["left_out"]}),
        ):
            write_json(file, said)
        write_json(calibration_curve, [])
        return
    knobs = choose(about["task"], params.tasks, "task")
    parts = {part: read_rows(splits / f"{part}.parquet") for part in PARTS}
    found, times = evaluate(start, candidate, parts, params.evaluation.batch_size)
    size = sizes(start, candidate, about)
    with whole(out) as made:
        write_rows(made / "predictions.parquet", table(about, parts, found), SCHEMA)
        write_json(made / "candidate.json", about | size)
    calibrated, curve = fit(about, parts, found, params.evaluation.bins)
    said = {"metric": knobs.metric, "bytes": size["bytes"], **calibrated, **times}
    write_json(metrics, said | scores(about, knobs, parts, found))
    write_json(calibration_curve, curve)


def sizes(start: Path, candidate: Path, about: dict[str, Any]) -> dict[str, int]:
    """Count bytes and parameters of one seed as a bundle would have it."""
    from safetensors import safe_open

    folder = candidate / about["weights"][str(about["seeds"][0])]
    own = {file.name: file for file in folder.iterdir()}
    files = {file.name: file for file in checkpoint_files(start)} | own
    total = 0
    for file in files.values():
        if file.suffix == ".safetensors":
            with safe_open(file, framework="numpy") as weights:
                total += sum(int(np.prod(weights.get_slice(n).get_shape())) for n in weights.keys())  # noqa: SIM118
    return {"bytes": sum(file.stat().st_size for file in files.values()), "parameters": total}


if __name__ == "__main__":
    run(main)
