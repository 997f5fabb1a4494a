"""Experiments and runs of MLflow, through the client that `registry` gives."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from pipelines import connection
from pipelines.versions import KEY, Client, Version

CHECKS = "checks"  # the experiment of champions on newer data
ADAPTATIONS = "adaptations"  # the experiment that all of them share, to be compared
MOST_SAID = 5000  # characters that MLflow's databases hold of a description
HISTORY_ROWS = 200  # a batch: MLflow takes 1,000 metrics in one
CHECKED = "outplant.checked"  # the tag that says what the last check of a champion found
HISTORY = "outplant.history"  # the tag that keys the run of one


def experiment(client: Client, name: str) -> str:
    """Return an experiment's id; artifacts of the local registry go beside it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        server = connection.is_server(connection.address())
        where = None if server else Path("mlartifacts").absolute().as_uri()
        return str(client.create_experiment(name, artifact_location=where))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def keyed(client: Client, task: str, key: str) -> Any:
    """Return the finished run of a candidate that is known to be there."""
    whole = f"tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'"
    return client.search_runs([experiment(client, task)], whole, max_results=1)[0]


def history(client: Client, key: str, name: str) -> Any:
    """Return the run that an adaptation's history goes to: one for each key."""
    where = experiment(client, ADAPTATIONS)
    if found := client.search_runs([where], f"tags.`{HISTORY}` = '{key}'", max_results=1):
        return found[0]
    tags = {HISTORY: key, "outplant.adaptation": name}
    return client.create_run(where, run_name=f"adapt-{name}", tags=tags)


def log_history(
    api: Any, client: Client, which: tuple[str, str], rows: list[dict[str, float]], status: str
) -> None:
    """Log what is not there yet; `which`: the key and the name of the adaptation."""
    run, now = history(client, *which), int(time.time() * 1000)
    new = unlogged(run, rows)
    for first in range(0, len(new), HISTORY_ROWS):
        batch = [
            api.entities.Metric(metric, value, now, int(row["step"]))
            for row in new[first : first + HISTORY_ROWS]
            for metric, value in row.items()
            if metric != "step"
        ]
        client.log_batch(run.info.run_id, metrics=batch)
    settle(client, run, status, now)


def log_check(
    api: Any, client: Client, found: Version, figures: dict[str, float], page: Path
) -> None:
    """Log a check in the champion's one run of checks, as its next step; the page is its last."""
    where, now = experiment(client, CHECKS), int(time.time() * 1000)
    known = client.search_runs([where], f"tags.`{KEY}` = '{found.lineage}'", max_results=1)
    said = hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()
    if known and known[0].data.tags.get(CHECKED) == said:
        return
    tags = {KEY: found.lineage, "outplant.task": found.task}
    name = f"{found.task}@{found.number}"
    run = (known[0] if known else client.create_run(where, run_name=name, tags=tags)).info.run_id
    step = len(client.get_metric_history(run, "score"))
    points = [api.entities.Metric(one, value, now, step) for one, value in figures.items()]
    client.log_batch(run, metrics=points)
    client.log_artifact(run, str(page))
    client.set_tag(run, CHECKED, said)
    client.set_terminated(run)


def unlogged(run: Any, rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Leave out the rows that a run has; one that is written again after a kill is the same."""
    seen, new = run.data.metrics.get("tokens", 0), []
    for row in rows:
        if row["tokens"] > seen:
            new.append(row)
            seen = row["tokens"]
    return new


def settle(client: Client, run: Any, status: str, now: int) -> None:
    """Give a run its status; one that was killed and goes on has not ended."""
    if status == run.info.status:
        return
    if status == "RUNNING":
        client.update_run(run.info.run_id, status)
    else:
        client.set_terminated(run.info.run_id, status, now)


def describe(about: dict[str, Any], card: str) -> str:
    """Say in a line what a version is, from its bundle.json; below comes its card without front."""
    test = about["test"]
    said = (
        f"{about['recipe']}, seed {about['seed']}: {about['metric']} {test['mean']:.3f}"
        f" [{test['low']:.3f}, {test['high']:.3f}] on test; the card is in the bundle's README.md"
    )
    return f"{said}\n\n{card.split('---', 2)[-1].strip()}"[:MOST_SAID]
