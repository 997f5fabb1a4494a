"""The whole graph, small, by DVC itself: a field of its own, no network, two tasks."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.core.files import digest, read_json, read_rows
from steps.corpora.overlap import words
from steps.transfer.packing import Blocks, read_tokenizer
from tests import projects
from tests.preforked import preforked
from tests.tiny import EXAMPLES, WORDS, make_base

SPLIT = {"given": False, "train": 40, "validation": 30, "test": 60, "seed": 1}
TASK = {
    "reader": "jsonl",
    "options": {},
    "min_words": 1,
    "max_words": 60,
    "max_tokens": 32,
    "slices": ["length"],
    "split": SPLIT,
    "learning": {"recipe": "baseline", "labels": [10, 20], "target": None},
    "expect": [
        {"check": "expect_column_values_to_not_be_null", "column": "text", "critical": True}
    ],
}


def field(folder: Path) -> dict[str, Any]:
    """Write a base, a corpus and two tasks below `folder`; return the params that use them."""
    make_base(folder / "base")
    (folder / "corpus").mkdir()
    held = EXAMPLES["classification"](200)
    chance = random.Random(1)
    for n in range(150):
        text = " ".join(chance.choice(WORDS) for _ in range(30))
        leaked = held[n]["text"] if n % 3 == 0 else ""
        (folder / "corpus" / f"{n:03}.txt").write_text(f"{text} {leaked}\n")
    for name, kind in (("changes", "classification"), ("entities", "tokens")):
        (folder / name).mkdir()
        rows = [{k: v for k, v in row.items() if k != "id"} for row in EXAMPLES[kind](200)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name / "examples.jsonl").write_text(lines)
    params = yaml.safe_load((projects.ROOT / "params.yaml").read_text())
    corpus = params["corpora"]["pydocs"] | {
        "reader": "text",
        "languages": [],
        "filters": [],
        "min_words": 5,
        "expect": TASK["expect"],
    }
    corpus["near_duplicates"] = 1.0
    names = ("base", "corpus", "changes", "entities")
    full = params["recipes"]["full_adapted"] | {"epochs": 2}
    params |= {
        "sources": {
            name: {"kind": "path", "path": f"field/{name}", "include": ["*"], "strip": 0}
            for name in names
        },
        "profile": {"start": "data/raw/base"},
        "corpora": {"field": corpus | {"source": "corpus"}},
        "tasks": {
            "changes": TASK | {"source": "changes", "type": "classification", "metric": "macro_f1"},
            "entities": TASK | {"source": "entities", "type": "tokens", "metric": "span_f1"},
        },
        "adaptations": adaptations(params["adaptations"]["dapt"]),
        "recipes": {
            "baseline": params["recipes"]["baseline"] | {"start": "data/raw/base"},
            "full_adapted": full,
        },
        "seeds": [1, 2],
    }
    params["pack"] |= {"block_tokens": 32, "held_out_tokens": 200}
    params["judge"] |= {"resamples": 200, "min_slice": 5}
    return params


def adaptations(demo: dict[str, Any]) -> dict[str, Any]:
    """One that reads the corpus, and one that goes on from it with a task's own texts."""
    text = demo["text"] | {"corpora": {"field": 1.0}}
    dapt = demo | {"start": "data/raw/base", "text": text, "tokens": 1000, "warmup_tokens": 200}
    dapt |= {"batch_tokens": 128}
    own = text | {"corpora": {}, "tasks": {"changes": 1.0}}
    return {"dapt": dapt, "tapt": dapt | {"start": "models/dapt", "text": own, "tokens": 300}}


def dvc(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["python", "-m", "dvc", *arguments],
        cwd=project,
        text=True,
        capture_output=True,
        check=False,
    )


def repro(project: Path, *targets: str) -> list[str]:
    """Run what is stale; return the names of the stages that ran."""
    done = dvc(project, "repro", *targets)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return re.findall(r"Running stage '([^']+)'", done.stdout)


@pytest.fixture(scope="module", autouse=True)
def quick_starts(tmp_path_factory) -> Iterator[None]:
    """Stages of this module start at once."""
    with preforked(tmp_path_factory.mktemp("python") / "bin") as environment:
        before = os.environ["PATH"]
        os.environ["PATH"] = environment["PATH"]
        yield
        os.environ["PATH"] = before


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A clone in which the whole graph has run once."""
    folder = projects.clone(tmp_path_factory.mktemp("graph") / "project", {})
    params = field(folder / "field")
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    shutil.rmtree(folder / ".git")
    projects.commit(folder)
    ran = repro(folder)
    assert len(ran) == len(set(ran)) > 25
    return folder


REGISTERED = ["register@changes", "register@entities"]


def test_a_second_run_runs_nothing_but_register(project):
    assert sorted(repro(project)) == REGISTERED


@pytest.mark.parametrize("task", ["changes", "entities"])
def test_a_report_has_all_that_was_decided(project, task):
    report = read_json(project / f"reports/{task}/comparison.json")
    assert report == report | read_json(project / f"comparisons/{task}/comparison.json")
    assert report["explain"] == {"method": "integrated_gradients", "why_not": ""}


def test_dvc_draws_the_candidates_and_tells_their_numbers(project):
    drawn = dvc(project, "plots", "show", "comparisons/changes/scores.json", "--show-vega")
    assert drawn.returncode == 0, drawn.stderr
    assert {"baseline", "full_adapted"} <= set(re.findall(r'"candidate": "(\w+)"', drawn.stdout))
    told = dvc(project, "metrics", "show", "--json", "metrics/compare/changes.json")
    assert '"difference"' in told.stdout


@pytest.mark.slow
def test_an_emptied_registry_is_filled_again(project):
    before = registered(project)
    (project / "mlflow.db").unlink()
    shutil.rmtree(project / "mlartifacts")
    assert [task["challenger"] for task in registered(project)] == [None, None]
    repro(project)
    assert registered(project) == before
    assert [task["challenger"] for task in before] == [1, 1]


def registered(project: Path) -> Any:
    tasks = "('changes', 'entities')"
    code = (
        "import json; from pipelines.registry import status\n"
        f"print(json.dumps([status(task) for task in {tasks}]))"
    )
    done = subprocess.run(
        ["python", "-c", code], cwd=project, text=True, capture_output=True, check=True
    )
    return json.loads(done.stdout)


def test_the_versions_that_saw_a_file_are_found_and_what_they_learnt_from_is_told(project):
    code = (
        "import json; from pipelines.tracing import uses\n"
        "names = 'field/changes/examples.jsonl', 'field/corpus/007.txt'\n"
        "print(json.dumps([[f'{u.task} {u.how}' for u in uses(name).versions] for name in names]))"
    )
    said = subprocess.run(
        ["python", "-c", code], cwd=project, text=True, capture_output=True, check=True
    )
    both = [
        ["changes learnt from", "entities only read"],
        ["changes only read", "entities only read"],
    ]
    assert json.loads(said.stdout) == both  # the winners are baselines


@pytest.mark.slow
def test_a_version_that_is_made_again_at_its_commit_is_the_same(project):
    code = "from pipelines.cli import app; app()"
    command = [sys.executable, "-c", code, "reproduce", "changes@1"]
    done = subprocess.run(command, cwd=project, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(path.name for path in (project / "bundles/changes").iterdir())
    assert done.stdout.splitlines() == [f"{'same':<8}{name}" for name in files]
    assert "finetune@changes-full_adapted" in done.stderr


def test_an_adaptation_that_goes_on_from_another_does_not_train_it_again(project):
    assert read_json(project / "data/texts/tapt/text.json")["parts"][0]["part"] == "tasks/changes"
    weights = [project / f"models/{name}/model.safetensors" for name in ("dapt", "tapt")]
    assert digest(weights[0]) != digest(weights[1])
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["adaptations"]["tapt"]["learning_rate"] = 1.1e-4
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert set(repro(project, "adapt@tapt")) == {"gather@dapt", "gather@tapt", "adapt@tapt"}


@pytest.mark.parametrize("name", ["dapt", "tapt"])
def test_no_held_out_text_is_in_the_tokens_that_adaptation_saw(project, name):
    tokenizer = read_tokenizer(project / "data/raw/base")
    seen = []
    for split in ("train", "held_out"):
        blocks = Blocks.load(project / "data/blocks" / name, split)
        for tokens, segments in zip(blocks.tokens, blocks.segments, strict=True):
            seen += [tokenizer.decode(tokens[segments == s].tolist()) for s in set(segments) - {0}]
    corpus = "\n".join(f" {' '.join(words(text))} " for text in seen)
    texts = [
        row["text"]
        for file in sorted((project / "data/splits").glob("*/*.parquet"))
        for row in read_rows(file)
        if file.stem != "train"
    ]
    assert corpus
    assert texts
    assert not [text for text in texts if f" {' '.join(words(text))} " in corpus]
    removed = read_rows(project / "data/clean/field/removed")
    assert {row["task"] for row in removed} >= {"changes"}


def test_a_changed_learning_rate_reruns_that_recipe_and_what_follows(project):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["recipes"]["full_adapted"]["learning_rate"] = 1.1e-4
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert set(repro(project, "register@changes")) == {
        "prepare@full_adapted",
        "finetune@changes-full_adapted",
        "evaluate@changes-full_adapted",
        "compare@changes",
        "bundle@changes",
        "report@changes",
        "register@changes",
    }


def test_editing_test_labels_trains_nothing_and_changes_no_winner(project):
    winner = read_json(project / "comparisons/changes/comparison.json")["winner"]
    held = read_rows(project / "data/splits/changes/test.parquet")
    texts = {row["text"] for row in held[:20]}
    file = project / "field/changes/examples.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["text"] in texts:
            row["label"] = "fix" if row["label"] != "fix" else "doc"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = repro(project, "report@changes")
    assert "compare@changes" in ran
    assert not [name for name in ran if name.startswith(("finetune", "adapt", "pack"))]
    found = read_json(project / "reports/changes/comparison.json")
    assert found["winner"] == winner
    assert found["errors"]
    assert all(error["attributions"] and error["completeness"] < 0.1 for error in found["errors"])


def test_a_label_that_training_never_saw_is_one_line(project, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".dvc", "mlartifacts"))
    held = read_rows(copy / "data/splits/changes/test.parquet")[0]
    rows = read_rows(copy / "data/examples/changes/examples")
    for row in rows:
        row["label"] = "unheard" if row["id"] == held["id"] else row["label"]
    said = split(copy, rows)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert "unheard" in said.stderr.strip().splitlines()[-1]


def split(project: Path, rows: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = project / "data/examples/changes/examples/part-00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    command = [
        "python",
        "-m",
        "steps.split",
        "changes",
        str(path.parents[1]),
        "data/splits/x",
    ]
    return subprocess.run(command, cwd=project, text=True, capture_output=True, check=False)


def test_a_misspelt_key_is_one_line(project, tmp_path):
    text = (project / "params.yaml").read_text().replace("mask_rate:", "mask_rat:")
    copy = projects.clone(tmp_path / "copy", {})
    shutil.copytree(project / "field", copy / "field")
    (copy / "params.yaml").write_text(text)
    done = dvc(copy, "repro", "fetch@base")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "mask_rat is not a key (did you mean 'mask_rate'?)" in lines[0]


def test_a_source_that_is_not_there_is_one_line(project, tmp_path):
    copy = projects.clone(tmp_path / "copy", {})
    text = (project / "params.yaml").read_text().replace("field/corpus", "field/corpsu")
    (copy / "params.yaml").write_text(text)
    done = dvc(copy, "repro", "fetch@corpus")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "field/corpsu" in done.stderr
