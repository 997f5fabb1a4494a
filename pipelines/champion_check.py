"""The champion on the newest data: what it reaches there, and what of its field has moved.

Nothing is trained and no alias moves. What is newest comes from the stages of DVC up to the task's
`split` (fetch, ingest, validate, and the profiles that a verdict needs), which are run where they
are stale; the champion comes from the registry, and what it learnt from by its lineage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines import champion_before, connection, registry, request_log, stages
from pipelines.champion_before import Before, Say
from pipelines.facts import SPLITS
from pipelines.reevaluation import compared, fresh
from pipelines.versions import Version
from steps.checks import shift
from steps.checks.shift import Said
from steps.checks.two_sample import Text
from steps.core.entry import StepError
from steps.core.params import Params, choose, load
from steps.judge.load import References, read_references
from steps.judge.significance import holm
from steps.judge.slices import places
from steps.judge.unknown import read_by
from steps.tasks import Prediction, task_type

Row = Mapping[str, Any]
Rows = Sequence[Row]
Figures = dict[str, Any]
LEVEL = 0.05
LENGTH, LENGTH_FIELD = "length", "text"  # the one kind of slice that a text alone has


@dataclass(frozen=True)
class Newest:
    """Rows of texts and what the champion says of them; `kinds`: of slices that rows have."""

    rows: Rows
    predictions: Sequence[Prediction]
    kinds: Sequence[str]


def champions() -> list[str]:
    """Tasks of params.yaml that have a champion."""
    if connection.unused():
        return []
    return [task for task in load().tasks if registry.champion(task)]


def check(task: str, say: Say) -> Figures:
    """Bring the task's test set up to date, hold its champion against it, and say what has moved.

    StepError where there is no champion, or a stage fails.
    """
    params = load()
    found = _champion(task, params)
    update(task, say)
    before = champion_before.read(found, say)
    return examine(before, read_references(SPLITS / task, "test"), params)


def check_requests(task: str, folder: Path, say: Say) -> Figures:
    """Say how what a service was asked differs from what its champion learnt from.

    The newest of the log's rows are predicted anew, so that confidences are as they were
    registered; nobody knows what is right of them, so that there is no metric.
    """
    params = load()
    found = _champion(task, params)
    rows = request_log.read(folder, task, found.number, shift.MOST)
    before = champion_before.read(found, say)
    train, test = before.part("train"), before.part("test")
    kinds = [LENGTH] if LENGTH_FIELD in rows[0] else []
    newest = Newest(rows, predict(before, rows), kinds)
    moved = drift(before, newest, (train, test) if train and test else None, params)
    whens = [row["when"].isoformat(timespec="minutes") for row in (rows[-1], rows[0])]
    asked = {"rows": len(rows), "from": whens[0], "until": whens[1]}
    return _about(found) | {"requests": asked} | moved | {"lacking": before.lacking}


def _champion(task: str, params: Params) -> Version:
    choose(task, params.tasks, "task")
    found = None if connection.unused() else registry.champion(task)
    if found is None:
        raise StepError(f"{task} has no champion; run `outplant promote {task}`")
    return found


def update(task: str, say: Say) -> None:
    """Run what is stale of the stages that the task's splits come from; nothing is trained."""
    graph = stages.read()
    by_name = {stage.name: stage for stage in graph.stages}
    wanted: set[str] = set()
    waiting = [f"split@{task}"]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += by_name[name].after
    for stage in graph.affected():
        if stage.name in wanted:
            stages.run(stage.name, say)


def examine(before: Before, newest: References, params: Params) -> Figures:
    """Compare the champion on these references with its registration, and both their texts."""
    section = params.tasks[before.found.task]
    start = Path(params.profile.start)
    known = [before.part(part) for part in ("train", "validation", "test")]
    train, _, test = (part and read_by(part, section.slices, start) for part in known)
    new = read_by(fresh(newest, known, before.said.ids), section.slices, start)
    made = predict(before, new.examples)
    found = compared((before, test), (new, made), section, params.judge)
    found["items"] |= {"left_out": len(newest.ids) - len(new.ids)}
    parts = (train, test) if train and test else None
    moved = drift(before, Newest(new.examples, made, section.slices), parts, params)
    return _about(before.found) | found | moved | {"lacking": before.lacking}


def predict(before: Before, rows: Rows) -> list[Prediction]:
    """Ask the champion's bundle, at the temperature that its registered predictions are of."""
    from steps.transfer.checkpoints import load_predictor

    predictor = replace(load_predictor(before.bundle), temperature=1.0)
    return predictor.predictions([dict(row) for row in rows])


def drift(
    before: Before, newest: Newest, known: tuple[References, References] | None, params: Params
) -> Figures:
    """Say how rows differ from what the champion learnt from, and its predictions from those made
    at registration; the rows need the fields that the task reads and nothing more.

    known: the parts train and test of the champion's own splits, where they could be had.
    """
    kind, seed = str(before.said.about["type"]), params.judge.seed
    now, groups = texts(kind, newest.rows), before.said.ids
    inputs: Figures | None = None
    if known is not None:
        learnt, tested = (texts(kind, part.examples) for part in known)
        groups, least = [one.group for one in tested], params.judge.min_slice
        sides = [places(rows, newest.kinds, least) for rows in (known[1].examples, newest.rows)]
        parts = shift.Parts(learnt, tested, now)
        inputs = shift.inputs(parts, (sides[0], sides[1]), seed)
        judge_slices(inputs["slices"])
    then = Said(before.said.values[0], before.said.confidences[0].tolist(), groups)
    said = Said(
        [one.value for one in newest.predictions],
        [one.confidence for one in newest.predictions],
        [one.group for one in now],
    )
    predictions = shift.outputs(kind, then, said, seed)
    return {"inputs": inputs, "predictions": predictions} | _verdicts(inputs, predictions)


def texts(kind: str, rows: Rows) -> list[Text]:
    """What the task reads of each row as one text, and its document; else each row is its own."""
    fields = task_type(kind).INPUTS
    return [
        Text(
            "\n".join(str(row[name]) for name in fields),
            f"{row.get('source', '')}\n{row.get('group') or row.get('id') or place}",
        )
        for place, row in enumerate(rows)
    ]


def judge_slices(rows: list[Figures]) -> None:
    """Mark the slices that have moved, by Holm over all of them; the one that moved most first."""
    ps = {at: row["told_apart"]["p"] for at, row in enumerate(rows)}
    held = holm({at: p for at, p in ps.items() if p is not None})
    for at, row in enumerate(rows):
        row["p_holm"] = held.get(at)
        row["moved"] = None if at not in held else held[at] <= LEVEL
    rows.sort(key=lambda row: -(row["told_apart"]["value"] or 0))


def _verdicts(inputs: Figures | None, predictions: Figures) -> dict[str, str]:
    """Say of both whether they have moved: inputs by a classifier, predictions by Holm."""
    parts = {name: predictions[name] for name in ("labels", "numbers", "confidence")}
    ps = {name: part["p"] for name, part in parts.items() if part and part["p"] is not None}
    return {
        "inputs_verdict": _word(inputs["p"] if inputs else None),
        "predictions_verdict": _word(min(holm(ps).values()) if ps else None),
    }


def _word(p: float | None) -> str:
    if p is None:
        return "can't tell"
    return "moved" if p <= LEVEL else "not shown"


def _about(found: Version) -> Figures:
    names = ("task", "recipe", "lineage", "seed", "commit")
    return {"version": found.number} | {name: getattr(found, name) for name in names}
