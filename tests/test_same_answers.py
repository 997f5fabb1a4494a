"""The same texts give the same predictions by every way there is to ask.

A way is a function: a champion's project to stand in, rows -> a prediction each.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines import connection, registry
from pipelines.answering import load as load_answerer
from pipelines.cli import app
from pipelines.serving_state import prove
from steps import evaluate as stage_evaluate
from steps.core.files import read_json, read_rows
from steps.core.params import load
from steps.tasks import Prediction, task_type
from tests.champions import in_float32
from tests.tiny_project import TASK

Rows = list[dict[str, Any]]
Way = Callable[[Path, Rows], list[dict[str, Any]]]
NEAR = 2e-3  # of a probability: a head of transformers has ours made nearly, not quite, the same


def by_evaluate(project: Path, rows: Rows) -> list[dict[str, Any]]:
    """What the stage saved of the test set, by the seed that was bundled."""
    found = registry.champion(TASK)
    assert found is not None
    folder = project / "predictions" / TASK / found.recipe
    about = read_json(folder / "candidate.json")
    saved = {
        row["id"]: row
        for row in read_rows(folder / "predictions.parquet")
        if row["split"] == "test" and row["seed"] == found.seed
    }
    assert stage_evaluate.SCHEMA.names == list(next(iter(saved.values())))
    said = [np.array([saved[row["id"]]["probabilities"]]) for row in rows]
    made: list[Prediction] = task_type(about["type"]).decode(rows, said, about["classes"])
    for one, row in zip(made, rows, strict=True):
        assert one.value == json.loads(saved[row["id"]]["prediction"])
        assert one.confidence == pytest.approx(saved[row["id"]]["confidence"])
    return [one.answer for one in made]


def by_lines(project: Path, rows: Rows) -> list[dict[str, Any]]:
    """`outplant predict TASK`, from stdin to stdout."""
    asked = "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows)
    done = CliRunner().invoke(app, ["predict", TASK], input=asked)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_batch(project: Path, rows: Rows, end: str = ".jsonl") -> list[dict[str, Any]]:
    """`outplant predict TASK IN OUT`."""
    source, out = project / f"in{end}.jsonl", project / f"out{end}"
    source.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    out.unlink(missing_ok=True)
    done = CliRunner().invoke(app, ["predict", TASK, str(source), str(out)])
    assert done.exit_code == 0, done.stderr
    if end == ".parquet":
        return read_rows(out)
    return [json.loads(line) for line in out.read_text().splitlines()]


def by_parquet(project: Path, rows: Rows) -> list[dict[str, Any]]:
    return by_batch(project, rows, ".parquet")


def by_mlflow(project: Path, rows: Rows) -> list[dict[str, Any]]:
    """`load_model("models:/TASK@champion")`, as any program of MLflow's does."""
    connection.quiet()
    import mlflow

    mlflow.set_tracking_uri(connection.address())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")  # of its own
        model = mlflow.pyfunc.load_model(f"models:/{TASK}@champion")
    said: list[dict[str, Any]] = model.predict([row["text"] for row in rows])
    return said


def by_answerer(project: Path, rows: Rows) -> list[dict[str, Any]]:
    """What the API and the page ask."""
    return load_answerer(TASK).answer([{"text": row["text"]} for row in rows])


def by_transformers(project: Path, rows: Rows) -> list[dict[str, Any]]:
    """`outplant export TASK DIR`, and transformers alone on what it wrote."""
    from transformers import pipeline

    out = project / "exported"
    if not out.exists():
        done = CliRunner().invoke(app, ["export", TASK, str(out)])
        assert done.exit_code == 0, done.stderr
    ask = pipeline("text-classification", model=str(out), top_k=None)
    said = []
    for answer in ask([row["text"] for row in rows]):
        shares = {one["label"]: one["score"] for one in answer}
        label = max(shares, key=lambda name: shares[name])
        said.append({"label": label, "confidence": shares[label], "probabilities": shares})
    return said


def by_api(project: Path, rows: Rows) -> list[dict[str, Any]]:
    """`POST /v1/TASK/predict` of a server on this machine."""
    import httpx

    from tests.serving import running

    with running([prove(load_answerer(TASK))]) as (address, _):
        items = [{"text": row["text"]} for row in rows]
        found = httpx.post(f"{address}/v1/{TASK}/predict", json={"items": items}, timeout=60)
        said = found.raise_for_status().json()
    assert said["version"] == 1
    answers: list[dict[str, Any]] = said["answers"]
    return answers


def by_page(project: Path, rows: Rows) -> list[dict[str, Any]]:
    """What the page's tab has in hand when it draws an answer."""
    from pipelines.page import Tab

    model = load_answerer(TASK)
    tab = Tab(TASK, lambda: model, lambda: None)
    return [tab.answer(row["text"])[1]["answer"] for row in rows]


WAYS: dict[str, Way] = {
    "evaluate": by_evaluate,
    "predict lines": by_lines,
    "predict files": by_batch,
    "predict parquet": by_parquet,
    "mlflow": by_mlflow,
    "answerer": by_answerer,
    "api": by_api,
    "page": by_page,
    "export": by_transformers,
}


@pytest.fixture
def project(champion: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(champion)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    load.cache_clear()
    return champion


@pytest.mark.parametrize("way", WAYS)
def test_the_same_texts_give_the_same_predictions_by_every_way(project: Path, way: str) -> None:
    rows = read_rows(project / "data/splits" / TASK / "test.parquet")
    with in_float32():
        said, expected = WAYS[way](project, rows), by_evaluate(project, rows)
    assert len({one["label"] for one in expected}) == 3
    for one, other in zip(said, expected, strict=True):
        assert one["label"] == other["label"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=NEAR)
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=NEAR)
