"""MLflow, and nothing else here imports it: a run a candidate, a version a winner, two aliases.

Every write is idempotent by content: a candidate's run and a winner's version carry the lineage key
of what made them, so that registering twice adds nothing and an emptied registry is filled again.
`mlflow.pyfunc.load_model("models:/TASK@champion")` runs `pipelines/champion.py` on the bundle, with
no pickle, in any folder of an environment that has this package.
"""

import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines import connection, lineage, record, runs, versions
from pipelines.candidates import PREDICTIONS, Candidate, candidates, evidence, requirements, tags
from pipelines.versions import CHALLENGER, CHAMPION, KEY, Client, Version
from steps.core.entry import StepError
from steps.core.files import read_json, whole

CODE = {True: "champion.py", False: "champion_of_fields.py"}  # whether a text is all that is read
DOWNLOADS = Path(".outplant/versions")
HISTORY_ROWS = 200  # a batch: MLflow takes 1,000 metrics in one
EXAMPLE = ["An example text.", "And another one."]


def register(task: str, bundle: Path, report: Path) -> dict[str, Any]:
    """Log the candidates and the winner's bundle, where they are not there yet.

    Returns the version with `added` (whether it is new), `runs` (how many are) and `note`.
    StepError where files are not those of dvc.lock; connection.Down where nothing answers.
    """
    entries = lineage.read_lock()
    lineage.verify(entries, bundle)
    lineage.verify(entries, report)
    key = lineage.key(lineage.upstream(entries, bundle))
    with record.serialised(task), _client() as client:
        found, runs = versions.search(client, task, key), 0
        if added := found is None:
            known = candidates(entries, task, read_json(report / "comparison.json"))
            runs = sum(_log(client, candidate) for candidate in known)
            found = _add(client, entries, bundle, report, key)
        versions.point(client, found, CHALLENGER)
        note = versions.settle(client, task)
    return asdict(found) | {"added": added, "runs": runs, "note": note}


def settle(task: str) -> str:
    """Let the champion's alias follow the record; call it under the task's lock.

    Repairs a crash between record and alias, and a registry that was emptied and filled again.
    Returns what was wrong, in one line, or nothing.
    """
    with _client() as client:
        return versions.settle(client, task)


def version(task: str, number: int | None) -> Version:
    """Return a version, by default the challenger; StepError where there is none."""
    with _client() as client:
        numbers = versions.numbers(client, task)
        if not numbers:
            raise StepError(f"no version of {task} is registered; run `dvc repro register@{task}`")
        if number is None:
            return versions.aliased(client, task, CHALLENGER) or versions.get(
                client, task, numbers[-1]
            )
        if number not in numbers:
            there = ", ".join(map(str, numbers))
            raise StepError(f"no version {number} of {task}; there is: {there}")
        return versions.get(client, task, number)


def with_lineage(task: str, key: str) -> Version | None:
    """Return the version that was made from that lineage."""
    with _client() as client:
        return versions.search(client, task, key)


def champion(task: str) -> Version | None:
    """Return the champion, if there is one."""
    with _client() as client:
        return versions.aliased(client, task, CHAMPION)


def crown(found: Version) -> None:
    """Move the champion's alias; the record has been written before."""
    with _client() as client:
        versions.crown(client, found)


def behind(task: str) -> str:
    """Say what the record lacks of what the registry saw of it, where it lacks something."""
    if connection.unused():
        return ""
    with _client() as client:
        return versions.behind(client, task)


def status(task: str) -> dict[str, Any]:
    """Return champion and challenger (version numbers or None), each with recipe and metric."""
    said: dict[str, Any] = {"task": task, "note": ""}
    empty = connection.unused()
    with record.if_free(task) as holder:
        if holder:
            said["note"] = f"{task} is being changed by {holder}"
        elif not empty and record.read(task):
            said["note"] = settle(task)
        for alias in (CHAMPION, CHALLENGER):
            found = None if empty else _find(task, alias)
            said[alias] = found and found.number
            for name in ("recipe", "metric", "score", "lineage"):
                said[f"{alias}_{name}"] = found and getattr(found, name)
    return said


def champion_bundle(task: str) -> Path:
    """Return a local folder with the champion's bundle; StepError where there is no champion."""
    found = champion(task)
    if found is None:
        raise StepError(f"{task} has no champion; run `outplant promote {task}`")
    return files(found)[0]


def files(found: Version) -> tuple[Path, Path]:
    """Return local folders of a version's bundle and evidence; fetched once from a remote store."""
    with _client() as client:
        kept = DOWNLOADS / found.task / found.lineage
        inside = _fetch(client, found.task, found.number, kept) / "artifacts"
    return inside / found.task, inside / _evidence_name(found.task)


def registered(name: str) -> tuple[list[int], dict[str, int]]:
    """Numbers of a model's versions, and where its aliases point; whoever registered them."""
    if connection.unused():
        return [], {}
    with _asked() as client:
        found = client.search_model_versions(f"name = '{name}'")
        return sorted(int(item.version) for item in found), versions.aliases(client, name)


@contextmanager
def opened(name: str, number: int) -> Iterator[Path]:
    """Give a local folder with the files of a version, for as long as it is open."""
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    with _asked() as client, tempfile.TemporaryDirectory(dir=DOWNLOADS) as folder:
        yield _fetch(client, name, number, Path(folder) / "files")


def log_history(key: str, name: str, rows: list[dict[str, float]], status: str) -> None:
    """Log what is not there yet of an adaptation's history, in the one run with that key.

    A batch is there whole or not at all, and `tokens` tells which are. StepError where MLflow
    does not take them.
    """
    with _asked() as client:
        from mlflow.entities import Metric

        run, now = runs.history(client, key, name), int(time.time() * 1000)
        new = runs.unlogged(run, rows)
        for first in range(0, len(new), HISTORY_ROWS):
            batch = [
                Metric(metric, value, now, int(row["step"]))
                for row in new[first : first + HISTORY_ROWS]
                for metric, value in row.items()
                if metric != "step"
            ]
            client.log_batch(run.info.run_id, metrics=batch)
        runs.settle(client, run, status, now)


@contextmanager
def _client() -> Iterator[Client]:
    """Give a client, after a quick look whether anything answers; Down where it stops to."""
    connection.quiet()
    uri = connection.address()
    connection.probe(uri)
    import mlflow

    # MLflow warns of its own types; its import has just put filters of its own before all others.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
    try:
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient(uri)
    except _failures() as error:
        if connection.lost(error):
            raise connection.down(uri, error) from error
        raise


@contextmanager
def _asked() -> Iterator[Client]:
    """Give a client, of which what it refuses is one line too."""
    try:
        with _client() as client:
            yield client
    except StepError:  # connection.Down, before MLflow is even imported
        raise
    except _failures() as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise StepError(f"MLflow refuses: {said}; look at its log") from error


def _failures() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, BotoCoreError


def _fetch(client: Client, name: str, number: int, folder: Path) -> Path:
    """Say where a version's files lie; a remote store's are fetched into the folder, once."""
    import mlflow

    uri = client.get_model_version_download_uri(name, str(number))
    path = Path(uri.removeprefix("file://"))
    if path.is_absolute():
        return path
    if not folder.exists():
        with whole(folder) as made:
            mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(made))
    return folder / path.name


def _find(task: str, alias: str) -> Version | None:
    with _client() as client:
        return versions.aliased(client, task, alias)


def _log(client: Client, candidate: Candidate) -> bool:
    """Log a candidate as a run, unless one with its lineage is there, whole."""
    from mlflow.entities import Metric, Param

    experiment = runs.experiment(client, candidate.task)
    whole = f"tags.`{KEY}` = '{candidate.key}' and attributes.status = 'FINISHED'"
    if client.search_runs([experiment], whole, max_results=1):
        return False
    run = client.create_run(experiment, run_name=candidate.recipe, tags=candidate.tags())
    now = run.info.start_time
    scores = [Metric(name, value, now, 0) for name, value in candidate.metrics.items()]
    knobs = [Param(name, value) for name, value in candidate.params.items()]
    client.log_batch(run.info.run_id, metrics=scores, params=knobs)
    client.set_terminated(run.info.run_id)
    return True


def _add(client: Client, entries: lineage.Entries, bundle: Path, report: Path, key: str) -> Version:
    """Log the bundle in its candidate's run, having loaded it and predicted once; register it."""
    import mlflow

    about = read_json(bundle / "bundle.json")
    task, inputs = about["task"], about["inputs"]
    run_key = lineage.key(lineage.upstream(entries, PREDICTIONS / task / about["recipe"]))
    with tempfile.TemporaryDirectory() as folder:
        proof = Path(folder) / _evidence_name(task)
        evidence(entries, task, report, proof)
        known = tags(task, key, bundle, proof)
        run = client.search_runs([runs.experiment(client, task)], f"tags.`{KEY}` = '{run_key}'")[0]
        with mlflow.start_run(run_id=run.info.run_id):
            logged = mlflow.pyfunc.log_model(
                name="bundle",
                python_model=str(Path(__file__).with_name(CODE[inputs == ["text"]])),
                artifacts={"bundle": str(bundle), "evidence": str(proof)},
                pip_requirements=requirements(),
            )
    items = EXAMPLE if inputs == ["text"] else [dict.fromkeys(inputs, text) for text in EXAMPLE]
    mlflow.pyfunc.load_model(logged.model_uri).predict(items)  # and so it is known to load
    if not client.search_registered_models(f"name = '{task}'"):
        client.create_registered_model(task)
    made = client.create_model_version(
        task,
        logged.model_uri,
        run.info.run_id,
        tags=known,
        description=runs.describe(about),
        model_id=logged.model_id,  # a server refuses a models:/ source without it
    )
    return versions.read(made)


def _evidence_name(task: str) -> str:
    return f"{task}.evidence"
