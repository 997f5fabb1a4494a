"""What `register` writes to MLflow: a run a candidate, the winner's bundle as a version.

MLflow itself (`api`) and its client are handed in by `registry`, which alone imports it.
"""

import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import lineage, runs, versions
from pipelines.candidates import PREDICTIONS, Candidate, evidence, requirements, tags
from pipelines.versions import KEY, Client, Version
from steps.core.entry import StepError
from steps.core.files import digest, read_json

CODE = {True: "champion.py", False: "champion_of_fields.py"}  # whether a text is all that is read
EXAMPLE = ["An example text.", "And another one."]
BATCH = 500  # MLflow takes 1,000 metrics at once, of them and params and tags 1,000
REPORT = "outplant.report"  # the tag that tells where the report on a candidate is


@dataclass(frozen=True)
class Winner:
    """What is to be registered, and the stages of dvc.lock that made it."""

    bundle: Path
    report: Path
    entries: lineage.Entries
    stages: lineage.Entries


@dataclass(frozen=True)
class Parcel:
    """A version as one registry hands it to another; `run`: the data of its candidate's run."""

    version: Version
    bundle: Path
    evidence: Path
    tags: dict[str, str]
    run: Any


def log(api: Any, client: Client, candidate: Candidate) -> bool:
    """Log a candidate as a run, unless one with its lineage is there, whole."""
    experiment = runs.experiment(client, candidate.task)
    whole = f"tags.`{KEY}` = '{candidate.key}' and attributes.status = 'FINISHED'"
    if client.search_runs([experiment], whole, max_results=1):
        return False
    run = client.create_run(experiment, run_name=candidate.recipe, tags=candidate.tags())
    now, metric = run.info.start_time, api.entities.Metric
    scores = [metric(name, value, now, 0) for name, value in candidate.metrics.items()]
    for name, points in candidate.curves.items():
        scores += [metric(name, value, now, step) for step, value in points.items()]
    knobs = [api.entities.Param(name, value) for name, value in candidate.params.items()]
    client.log_batch(run.info.run_id, params=knobs)
    for first in range(0, len(scores), BATCH):
        client.log_batch(run.info.run_id, metrics=scores[first : first + BATCH])
    client.set_terminated(run.info.run_id)
    return True


def add(api: Any, client: Client, winner: Winner) -> Version:
    """Log the bundle in its candidate's run, having loaded it and predicted once; register it."""
    about = read_json(winner.bundle / "bundle.json")
    task, key = about["task"], lineage.key(winner.stages)
    known = read_json(winner.report / "comparison.json")["candidates"]
    keys = {recipe: _run_key(winner, task, recipe) for recipe in known}
    found = {recipe: runs.keyed(client, task, own) for recipe, own in keys.items()}
    run = found[about["recipe"]].info.run_id
    with tempfile.TemporaryDirectory() as folder:
        proof = Path(folder) / evidence_name(task)
        evidence(winner.entries, winner.stages, task, winner.report, proof)
        said = tags(task, key, winner.bundle, proof)
        logged = _log_bundle(api, run, winner.bundle, proof)
    for file in sorted(winner.report.glob("*.html")):
        client.log_artifact(run, str(file), "report")
        for one in found.values():
            client.set_tag(one.info.run_id, REPORT, f"runs:/{run}/report/{file.name}")
    _prove(api, logged, about["inputs"])
    return register(client, winner.bundle, logged, run, said)


def receive(api: Any, client: Client, sent: Parcel) -> Version:
    """Log what another registry has sent, check each file's hash where it lies now; register it."""
    task, about = sent.version.task, read_json(sent.bundle / "bundle.json")
    tags = {name: value for name, value in sent.run.tags.items() if name.startswith("outplant.")}
    where = runs.experiment(client, task)
    run = client.create_run(where, run_name=sent.version.recipe, tags=tags).info.run_id
    knobs = [api.entities.Param(name, value) for name, value in sent.run.params.items()]
    now = int(time.time() * 1000)
    scores = [api.entities.Metric(name, v, now, 0) for name, v in sent.run.metrics.items()]
    client.log_batch(run, params=knobs, metrics=scores)
    logged = _log_bundle(api, run, sent.bundle, sent.evidence)
    with tempfile.TemporaryDirectory() as folder:
        got = Path(api.artifacts.download_artifacts(logged.model_uri, dst_path=folder))
        for mine in (sent.bundle, sent.evidence):
            require_same(mine, got / "artifacts" / mine.name)
    _prove(api, logged, about["inputs"])
    client.set_terminated(run)
    return register(client, sent.bundle, logged, run, sent.tags)


def require_same(sent: Path, got: Path) -> None:
    """StepError that names a file which is not, byte for byte, what was sent."""
    names = {p.relative_to(at).as_posix() for at in (sent, got) for p in at.rglob("*")}
    for name in sorted(names):
        one, other = sent / name, got / name
        if one.is_dir() and other.is_dir():
            continue
        if not (one.is_file() and other.is_file() and digest(one) == digest(other)):
            raise StepError(
                f"{name} arrived as another file; nothing was registered, send it again"
            )


def register(client: Client, bundle: Path, logged: Any, run: str, tags: dict[str, str]) -> Version:
    """Make a logged bundle a version: from here on it is done."""
    about = read_json(bundle / "bundle.json")
    task, card = about["task"], (bundle / "README.md").read_text(encoding="utf-8")
    if not client.search_registered_models(f"name = '{task}'"):
        client.create_registered_model(task)
    made = client.create_model_version(
        task,
        logged.model_uri,
        run,
        tags=tags,
        description=runs.describe(about, card),
        model_id=logged.model_id,  # a server refuses a models:/ source without it
    )
    return versions.read(made)


def _run_key(winner: Winner, task: str, recipe: str) -> str:
    return lineage.key(lineage.upstream(winner.entries, PREDICTIONS / task / recipe))


def _log_bundle(api: Any, run: str, bundle: Path, proof: Path) -> Any:
    """Log bundle and evidence as a model with an example of what it is asked."""
    inputs = read_json(bundle / "bundle.json")["inputs"]
    with api.start_run(run_id=run):
        return api.pyfunc.log_model(
            name="bundle",
            python_model=str(Path(__file__).with_name(CODE[inputs == ["text"]])),
            artifacts={"bundle": str(bundle), "evidence": str(proof)},
            pip_requirements=requirements(),
            input_example=_example(inputs),
        )


def _prove(api: Any, logged: Any, inputs: list[str]) -> None:
    """Load what was logged and ask it once; its answers' types become part of the signature.

    MLflow has asked it too, for the example, but only warns of what goes wrong then.
    """
    said = api.pyfunc.load_model(logged.model_uri).predict(_example(inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whole numbers cannot be missing: a span's ends never are
        try:
            outputs = api.models.infer_signature(model_output=said).outputs
        except api.exceptions.MlflowException:  # such as entities, where none was found
            return
    signature = logged.signature
    signature.outputs = outputs
    api.models.set_signature(logged.model_uri, signature)


def _example(inputs: list[str]) -> list[Any]:
    return EXAMPLE if inputs == ["text"] else [dict.fromkeys(inputs, text) for text in EXAMPLE]


def evidence_name(task: str) -> str:
    return f"{task}.evidence"
