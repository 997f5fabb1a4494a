"""Stage `evaluate`: a candidate + test -> a prediction for each item, metrics, calibration.

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
from steps.core.params import Evaluation, Task, choose, load
from steps.judge.calibration import calibration, corrects
from steps.judge.metrics import compute
from steps.tasks import Prediction, task_type
from steps.transfer.checkpoints import checkpoint_files, load_candidate

PARTS = ("validation", "test")
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
) -> tuple[dict[str, ByFolder], float]:
    """Predict each part by each seed's weights; also return the seconds a text takes, median."""
    folders = sorted(set(read_json(candidate / "candidate.json")["weights"].values()))
    found: dict[str, ByFolder] = {part: {} for part in parts}
    seconds = []
    for folder in folders:
        predictor = load_candidate(start, candidate, folder, batch_size)
        for part, rows in parts.items():
            began = time.perf_counter()
            found[part][folder] = predictor.predictions(rows)
            seconds.append((time.perf_counter() - began) / max(1, len(rows)))
    return found, float(np.median(seconds))


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


def curve(about: dict[str, Any], rows: Rows, found: ByFolder, params: Evaluation) -> dict[str, Any]:
    """Calibration on test, all seeds together."""
    kind = task_type(about["type"])
    texts = [row["text"] for row in rows]
    references = [kind.reference(row) for row in rows]
    sure = [item.confidence for part in found.values() for item in part]
    right = [
        share
        for part in found.values()
        for share in corrects(about["type"], texts, references, [item.value for item in part])
    ]
    return calibration(sure, right, params.bins)


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
    found, seconds = evaluate(start, candidate, parts, params.evaluation.batch_size)
    with whole(out) as made:
        write_rows(made / "predictions.parquet", table(about, parts, found), SCHEMA)
        write_json(made / "candidate.json", about | sizes(start, candidate, about))
    fit = curve(about, parts["test"], found["test"], params.evaluation)
    said = {"metric": knobs.metric, "ece": fit["ece"], "seconds_per_1000": round(seconds * 1000, 3)}
    write_json(metrics, said | scores(about, knobs, parts, found))
    write_json(calibration_curve, fit["curve"])


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
