"""MLflow, and nothing else here imports it: a run a candidate, a version a winner, two aliases.

Every write is idempotent by content: a candidate's run and a winner's version carry the lineage key
of what made them, so that registering twice adds nothing and an emptied registry is filled again.
`mlflow.pyfunc.load_model("models:/TASK@champion")` runs `pipelines/champion.py` on the bundle, with
no pickle, in any folder of an environment that has this package.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines import connection, lineage, logged, record, runs, traces, versions
from pipelines.candidates import candidates
from pipelines.logged import Parcel, Winner, evidence_name
from pipelines.versions import CHALLENGER, CHAMPION, Client, Version
from steps.core.entry import StepError
from steps.core.files import read_json, whole

DOWNLOADS = Path(".outplant/versions")


def register(task: str, bundle: Path, report: Path) -> dict[str, Any]:
    """Log the candidates and the winner's bundle, where they are not there yet.

    Returns the version with `added` (whether it is new), `runs` (how many are) and `note`.
    StepError where files are not those of dvc.lock; connection.Down where nothing answers.
    """
    entries = lineage.read_lock()
    lineage.verify(entries, bundle)
    lineage.verify(entries, report)
    stages = lineage.upstream(entries, bundle)
    with record.serialised(task), _client() as client:
        import mlflow

        found, runs = versions.search(client, task, lineage.key(stages)), 0
        if added := found is None:
            known = candidates(entries, task, read_json(report / "comparison.json"))
            runs = sum(logged.log(mlflow, client, candidate) for candidate in known)
            found = logged.add(mlflow, client, Winner(bundle, report, entries, stages))
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
    return aliased(task, CHAMPION)


def aliased(task: str, alias: str) -> Version | None:
    """Return the version that an alias points at, if there is one."""
    with _client() as client:
        return versions.aliased(client, task, alias)


def champions() -> list[str]:
    """Names of the tasks of this project that have a champion."""
    if connection.unused():
        return []
    with _client() as client:
        known = versions.models(client)
        return sorted(m.name for m in known if CHAMPION in m.aliases and versions.MARK in m.tags)


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
            found = None if empty else aliased(task, alias)
            said[alias] = found and found.number
            for name in ("recipe", "metric", "score", "lineage"):
                said[f"{alias}_{name}"] = found and getattr(found, name)
    return said


def pending(task: str, bundle: Path) -> bool:
    """Whether a bundle that dvc.lock has made is not registered yet."""
    if not bundle.exists() or not lineage.LOCK.exists():
        return False
    key = lineage.key(lineage.upstream(lineage.read_lock(), bundle))
    return connection.unused() or with_lineage(task, key) is None


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
    return inside / found.task, inside / evidence_name(found.task)


def trace(found: Version) -> Path | None:
    """Return a local folder with what a version is traced by; None where it was registered
    without. Of a remote store that alone is fetched, not the weights.
    """
    with _client() as client:
        import mlflow

        uri = client.get_model_version_download_uri(found.task, str(found.number))
        inside = f"{uri}/artifacts/{evidence_name(found.task)}"
        here, kept = Path(inside.removeprefix("file://")), DOWNLOADS / "traces" / found.lineage
        if here.is_absolute():
            return here if (here / traces.STAGES).exists() else None
        names = {Path(item.path).name for item in mlflow.artifacts.list_artifacts(inside)}
        if not names.issuperset(traces.WANTED):
            return None
        if not kept.exists():
            with whole(kept) as made:
                for name in traces.WANTED:
                    mlflow.artifacts.download_artifacts(f"{inside}/{name}", dst_path=str(made))
        return kept


def parcel(found: Version) -> Parcel:
    """Gather what another registry needs of a version."""
    bundle, evidence = files(found)
    with _client() as client:
        item = client.get_model_version(found.task, str(found.number))
        return Parcel(found, bundle, evidence, item.tags, client.get_run(item.run_id).data)


def receive(sent: Parcel) -> Version:
    """Register here what another registry has sent, unless it is there; make it challenger."""
    with record.serialised(sent.version.task), _asked() as client:
        import mlflow

        found = versions.search(client, sent.version.task, sent.version.lineage)
        found = found or logged.receive(mlflow, client, sent)
        versions.point(client, found, CHALLENGER)
        return found


def everything() -> list[Version]:
    """Return all versions that this project registered, of every task, oldest first."""
    if connection.unused():
        return []
    with _client() as client:
        tasks = sorted(model.name for model in versions.models(client))
        known = [(task, number) for task in tasks for number in versions.numbers(client, task)]
        return [versions.get(client, task, number) for task, number in known]


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


def log_check(found: Version, figures: dict[str, float], page: Path) -> None:
    """Log what a check of a champion found; once, however often the same is found."""
    with _asked() as client:
        import mlflow

        runs.log_check(mlflow, client, found, figures, page)


def log_history(key: str, name: str, rows: list[dict[str, float]], status: str) -> None:
    """Log what is not there yet of an adaptation's history, in the one run with that key.

    A batch is there whole or not at all, and `tokens` tells which are. StepError where MLflow
    does not take them.
    """
    with _asked() as client:
        import mlflow

        runs.log_history(mlflow, client, (key, name), rows, status)


@contextmanager
def _client() -> Iterator[Client]:
    """Give a client, after a quick look whether anything answers; Down where it stops to."""
    connection.quiet()
    uri = connection.address()
    connection.probe(uri)
    import mlflow

    # MLflow warns of its own types; its import has just put filters of its own before all others.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # it logs tracebacks, and raises
    try:
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient(uri)
    except _failures() as error:
        if connection.lost(error):
            raise connection.down(uri, error) from error
        if code := connection.denied(error):
            raise connection.stranger(uri, code) from None
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
        raise StepError(f"MLflow refuses: {connection.said(error)}; look at its log") from error


def _failures() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, BotoCoreError, OSError


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
