"""README's table: every strategy on the demo's tasks, with few labels and with all.

    python -m tests.bench.strategies FOLDER [--labels N ...]

copies the project to FOLDER with infra/demo/strategies.yaml laid over its params, learns word
vectors from the decontaminated corpus, and runs the graph once for each number of labels, as a user
would by `dvc repro`. One JSON line a candidate: the metric on test by its seeds, their mean and
standard deviation; one a task: its winner by validation, and the verdict against the baseline.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from steps.core.files import read_json, read_rows, shards
from steps.tasks.tokens import WORD
from tests.projects import ROOT, clone, overlay

LABELS = (100, 300, 2600)  # the last: all that both tasks have beside what is held out
EPOCHS = ((100, 10), (300, 6), (10**6, 1))  # up to so many labels, so many epochs
THAWING = 4  # epochs of `gradual` at least: each lets a layer more move


def dvc(folder: Path, *targets: str) -> None:
    """Bring the named stages of the project up to date."""
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)


def write_vectors(corpus: Path, out: Path) -> None:
    """Learn vectors of a corpus's words (word2vec, skip-gram); in the order of their frequency."""
    from gensim.models import Word2Vec

    documents = [row["text"] for file in shards(corpus / "documents") for row in read_rows(file)]
    texts = [WORD.findall(text) for text in documents]
    model = Word2Vec(texts, vector_size=200, sg=1, epochs=10, min_count=3, seed=1, workers=1)
    out.mkdir(exist_ok=True)
    model.wv.save_word2vec_format(str(out / "pydocs.txt"))


def with_labels(params: dict[str, Any], labels: int) -> dict[str, Any]:
    """Limit the training examples of all tasks."""
    return overlay(params, {"tasks": {t: {"split": {"train": labels}} for t in params["tasks"]}})


def with_epochs(params: dict[str, Any], labels: int) -> dict[str, Any]:
    """Let all that train by steps take the epochs that so many labels are worth."""
    worth = next(epochs for most, epochs in EPOCHS if labels <= most)
    recipes = {
        name: {"epochs": max(worth, THAWING) if knobs["strategy"] == "gradual" else worth}
        for name, knobs in params["recipes"].items()
        if "epochs" in knobs
    }
    return overlay(params, {"recipes": recipes})


def size(folder: Path, task: str) -> int:
    counts: dict[str, int] = read_json(folder / f"data/splits/{task}/task.json")["counts"]
    return counts["train"]


def report(folder: Path, task: str) -> None:
    found = read_json(folder / f"comparisons/{task}/comparison.json")
    about = {"task": task, "labels": size(folder, task), "metric": found["metric"]}
    for recipe, scores in found["candidates"].items():
        print(json.dumps(about | {"recipe": recipe} | scores["test"]), flush=True)
    told = {name: found[name] for name in ("winner", "baseline", "verdict", "left_out")}
    print(json.dumps(about | told), flush=True)


def main(folder: Path, counts: list[int]) -> None:
    if not folder.exists():
        folder.mkdir(parents=True)
        clone(folder, yaml.safe_load((ROOT / "infra/demo/strategies.yaml").read_text()))
    if not (folder / "vectors").exists():
        dvc(folder, "decontaminate@pydocs")
        write_vectors(folder / "data/clean/pydocs", folder / "vectors")
    file = folder / "params.yaml"
    for labels in counts:
        params = with_labels(yaml.safe_load(file.read_text()), labels)
        write(file, params)
        dvc(folder, *(f"split@{task}" for task in params["tasks"]))
        for task in params["tasks"]:
            write(file, with_epochs(params, size(folder, task)))
            dvc(folder, f"compare@{task}")
            report(folder, task)


def write(file: Path, params: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(params, sort_keys=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=LABELS, metavar="N")
    chosen = parser.parse_args()
    main(chosen.folder.resolve(), chosen.labels)
