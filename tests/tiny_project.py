"""A tiny real project: one task, cheap candidates, their predictions, dvc.lock by DVC itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
import yaml

from pipelines import connection, registry
from steps import compare as stage_compare
from steps import evaluate as stage_evaluate
from steps.bundle import main as bundle
from steps.core.files import read_json, write_json, write_rows, write_text
from steps.core.params import Recipe, load
from steps.finetune import finetune
from steps.judge.contest import Contest
from steps.judge.load import read_references
from steps.judge.metrics import metric_for
from steps.prepare import prepare
from steps.tasks import task_type
from steps.transfer.strategies import Material
from tests.tiny import classified

REPOSITORY = Path(__file__).parents[1]
TASK = "changes"
COLUMNS = ("id", "source", "group", "text", "language", "label")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
WEAK, STRONG = ("feature", "fix"), ("doc", "feature", "fix")  # labels that a recipe learns
STAGES: dict[str, tuple[list[str], list[str]]] = {  # deps, outs
    "validate_task": ([], ["data/validation/tasks/${key}"]),
    "split": (["data/validation/tasks/${key}/verdict.json"], ["data/splits/${key}"]),
    "compare": (["data/splits/${key}", "predictions/${key}"], ["comparisons/${key}"]),
    "bundle": (
        ["comparisons/${key}/comparison.json", "candidates/${key}", "starts"],
        ["bundles/${key}"],
    ),
    "report": (["comparisons/${key}", "bundles/${key}"], ["reports/${key}"]),
}


def make(
    recipes: dict[str, tuple[str, ...]],
    test: slice = slice(30, 90),
    train: slice = slice(12),
    knobs: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Make the project in the present folder up to its bundle; a recipe is what it learns, and
    `knobs` its own, where it is no baseline.
    """
    write_params(recipes, knobs or {})
    rows = classified(220)
    parts = {"train": rows[train], "validation": rows[12:30], "test": rows[test]}
    for name, part in parts.items():
        write_rows(Path(f"data/splits/{TASK}/{name}.parquet"), part, SCHEMA)
    labels = sorted({row["label"] for row in rows})
    counts = {name: len(part) for name, part in parts.items()}
    write_json(
        Path(f"data/splits/{TASK}/task.json"),
        {
            "task": TASK,
            "type": "classification",
            "labels": labels,
            "counts": counts,
            "conflicts": [],
        },
    )
    write_json(Path(f"data/validation/tasks/{TASK}/verdict.json"), {"success": True, "results": []})
    for name, learnt in recipes.items():
        train = [row for row in parts["train"] if row["label"] in learnt]
        candidate(name, labels, parts | {"train": train})
    compare()
    bundle(
        TASK,
        Path("comparisons") / TASK,
        Path("data/splits") / TASK,
        Path("starts"),
        Path("candidates") / TASK,
        Path("bundles") / TASK,
    )


def write_params(
    recipes: Iterable[str], knobs: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> None:
    """Write the demo's params.yaml, cut down to one task and these recipes."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["tasks"] = {TASK: params["tasks"][TASK]}
    params["recipes"] = {
        name: {"strategy": "baseline", "start": "none", "inverse_regularisation": 100.0}
        for name in recipes
    } | dict(knobs)
    params["seeds"] = [1, 2]
    params["judge"]["resamples"] = 200
    params["gate"] |= {"minimum": {TASK: 0.1}, "clean_source": False, "max_ece": None}
    write_text(Path("params.yaml"), yaml.safe_dump(params))
    load.cache_clear()


def candidate(name: str, labels: list[str], parts: dict[str, list[dict[str, Any]]]) -> None:
    """Train a candidate and save what it predicts."""
    recipe, start, folder = load().recipes[name], Path("starts") / name, Path(TASK) / name
    prepare(name, Recipe(**recipe.model_dump()), Path(recipe.start), start)
    kind = task_type("classification")
    about = {"task": TASK, "type": "classification", "recipe": name, "strategy": recipe.strategy}
    about |= {"start": recipe.start, "labels": labels, "max_tokens": 64, "seeds": load().seeds}
    rest = {"validation": parts["validation"], "room": Path("room") / name}
    for old in ("candidates" / folder, rest["room"]):  # as DVC does, and another room as its key
        shutil.rmtree(old, ignore_errors=True)
    material = Material("classification", kind.classes(labels), parts["train"], 64, **rest)
    finetune(about, recipe, material, start, "candidates" / folder)
    about = read_json("candidates" / folder / "candidate.json")
    held_out = {part: parts[part] for part in ("validation", "test")}
    found, _ = stage_evaluate.evaluate(start, "candidates" / folder, held_out, 32)
    rows = stage_evaluate.table(about, held_out, found)
    write_rows("predictions" / folder / "predictions.parquet", rows, stage_evaluate.SCHEMA)
    sizes = stage_evaluate.sizes(start, "candidates" / folder, about)
    write_json("predictions" / folder / "candidate.json", about | sizes)
    write_json(Path("metrics/evaluate") / f"{folder}.json", {"ece": 0.1, "seconds_per_1000": 1.0})
    write_json(Path("metrics/finetune") / f"{folder}.json", {"train_seconds": 1.0})


def compare() -> None:
    """Decide as the stage does; the drawn report is not what is tested here."""
    params, splits = load(), Path("data/splits") / TASK
    references = {part: read_references(splits, part) for part in ("validation", "test")}
    known = stage_compare.read_candidates(
        TASK, params.recipes, Path("predictions") / TASK, Path("metrics")
    )
    metric = metric_for("macro_f1", "classification")
    contest = Contest(TASK, metric, references, known, params.gate.baseline, params.judge)
    found = stage_compare.compare(contest, params.recipes, {}, ["source", "length"])
    for folder in ("comparisons", "reports"):
        write_json(Path(folder) / TASK / "comparison.json", found)
    write_text(Path("reports") / TASK / "report.html", "<p>drawn elsewhere</p>\n")


def blank_registry(folder: Path) -> Path:
    """Put MLflow's tables, whose making takes seconds, into a database to copy."""
    return Path(shutil.copy(Path(_blank().name) / "blank.db", folder / "blank.db"))


@cache
def _blank() -> TemporaryDirectory[str]:
    connection.quiet()
    import mlflow

    folder = TemporaryDirectory()  # until the process ends
    mlflow.MlflowClient(f"sqlite:///{folder.name}/blank.db").search_experiments()
    return folder


def register_two(folder: Path) -> None:
    """Make the project twice: version 1 is weak and knows no `doc`, 2 is good; no champion.
    Beside its registry is a blank one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copy(blank_registry(folder), "mlflow.db")
        for recipes in ({"baseline": WEAK}, {"baseline": WEAK, "good": STRONG}):
            make(recipes)
            commit()
            registry.register(TASK, Path("bundles") / TASK, Path("reports") / TASK)


def commit() -> None:
    """Let DVC itself write dvc.lock for the files as they are."""
    stages: dict[str, Any] = {
        name: {
            "foreach": "${tasks}",
            "do": {"cmd": f"false {name} ${{key}}", "deps": deps, "outs": outs},
        }
        for name, (deps, outs) in STAGES.items()
    }
    stages["evaluate"] = {
        "matrix": {"task": "${tasks}", "recipe": "${recipes}"},
        "cmd": "false evaluate ${item.task} ${item.recipe}",
        "deps": ["data/splits/${item.task}", "candidates/${item.task}/${item.recipe}"],
        "params": ["recipes.${item.recipe}", "seeds"],
        "outs": ["predictions/${item.task}/${item.recipe}"],
    }
    stages["finetune"] = {
        "matrix": {"task": "${tasks}", "recipe": "${recipes}"},
        "cmd": "false finetune ${item.task} ${item.recipe}",
        "deps": ["data/splits/${item.task}", "starts/${item.recipe}"],
        "outs": ["candidates/${item.task}/${item.recipe}"],
    }
    stages["register"] = {
        "foreach": "${tasks}",
        "do": {
            "cmd": "python -m steps.register ${key} bundles/${key} reports/${key}",
            "deps": ["bundles/${key}", "reports/${key}"],
            "always_changed": True,
        },
    }
    write_text(Path("dvc.yaml"), yaml.safe_dump({"stages": stages}, sort_keys=False))
    if not Path(".dvc").exists():
        dvc("init", "--no-scm", "--quiet")
    dvc("commit", "--force", "--quiet")


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC as a user would, with this environment's Python first on the path."""
    found = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{found}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    command = [f"{found}/dvc", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
