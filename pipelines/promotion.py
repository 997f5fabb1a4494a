"""Promotion and rollback: decide, record, and only then move the champion's alias.

Serialised by the task's lock; what a crash leaves between record and alias is repaired by the next
command, for the alias follows the record. What decides is read under the lock, and the champion is
the record's. Prefect is not needed for any of it.
"""

from dataclasses import dataclass

from pipelines import facts, gate, record, registry
from pipelines.gate import Clause, Verdict
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.params import Params, choose, load

MEND = (
    "bring the whole record back, or share it (infra/README.md), or go on from here: "
    "`outplant promote {task} --version N --force --reason TEXT`"
)


@dataclass(frozen=True)
class Outcome:
    """What came of a command: whether the champion moved, why, and the version asked for."""

    moved: bool
    verdict: Verdict
    message: str
    version: int


def promote(task: str, version: int | None, force: bool, reason: str) -> Outcome:
    """Make a version (by default the challenger) champion, if the gate or `force` lets it."""
    params = load()
    choose(task, params.tasks, "task")
    if force and not reason.strip():
        raise StepError("a forced promotion needs a reason; say --reason TEXT")
    with record.serialised(task):
        registry.settle(task)
        challenger, champion = registry.version(task, version), _champion(task)
        lacking = registry.behind(task)
        if champion and champion.lineage == challenger.lineage and not lacking:
            return _already(challenger)
        verdict = _on_record(task, lacking, _judge(params, challenger, champion))
        if not gate.moves(params.gate, verdict) and not force:
            return Outcome(False, verdict, _kept(challenger, verdict), challenger.number)
        entry = {"reason": reason, "forced": not gate.moves(params.gate, verdict)}
        _move("promote", champion, challenger, entry | verdict.as_dict())
    return Outcome(True, verdict, _moved(challenger, champion), challenger.number)


def rollback(task: str, reason: str, to: int | None) -> Outcome:
    """Make the champion before the present one champion again, or an earlier one by its number."""
    choose(task, load().tasks, "task")
    if not reason.strip():
        raise StepError("a rollback needs a reason; say --reason TEXT")
    with record.serialised(task):
        _check_end(task)
        registry.settle(task)
        champion = _champion(task)
        if champion is None and not record.read(task):
            raise StepError(f"{task} has no champion to roll back; run `outplant promote {task}`")
        if champion and champion.number == to:
            return _already(champion)
        earlier = _earlier(task, champion, to)
        verdict = Verdict(
            "promote", (Clause("rollback", "an earlier champion", "it is one", True),)
        )
        _move("rollback", champion, earlier, {"reason": reason} | verdict.as_dict())
    return Outcome(True, verdict, _moved(earlier, champion), earlier.number)


def history(task: str) -> list[record.Entry]:
    """Return every move of the task's champion, oldest first."""
    choose(task, load().tasks, "task")
    return record.read(task)


def verify(task: str) -> int:
    """Check the record's chain and its end; StepError names the line where it does not hold.

    Returns how many moves there are.
    """
    choose(task, load().tasks, "task")
    record.verify(task)
    _check_end(task)
    return len(record.read(task))


def _judge(params: Params, challenger: Version, champion: Version | None) -> Verdict:
    known = facts.gather(params, _side(challenger), _side(champion) if champion else None)
    return gate.decide(params.gate, known)


def _champion(task: str) -> Version | None:
    """Return the champion on record, which the registry may lack; without a record the alias's."""
    entries = record.read(task)
    if not entries:
        return registry.champion(task)
    return registry.with_lineage(task, entries[-1]["to"]["lineage"])


def _check_end(task: str) -> None:
    if lacking := registry.behind(task):
        raise StepError(f"{lacking}; {MEND.format(task=task)}")


def _on_record(task: str, lacking: str, verdict: Verdict) -> Verdict:
    """Refuse where the record lacks what was acted on; `--force` goes on from what there is."""
    if not lacking:
        return verdict
    clause = Clause("record", "every move", f"{lacking}; {MEND.format(task=task)}", False)
    return Verdict("refuse", (*verdict.clauses, clause))


def _side(found: Version) -> facts.Side:
    return facts.Side(found, *registry.files(found))


def _earlier(task: str, champion: Version | None, to: int | None) -> Version:
    """Find where to roll back to; StepError where no champion was before."""
    was = [champion.reference()] if champion else []
    *stack, present = record.champions(record.read(task)) or was
    if to is None:
        if not stack:
            raise StepError(
                f"{task} had no champion before version {present['version']}; "
                f"promote another with `outplant promote {task} --version N`"
            )
        found = registry.with_lineage(task, stack[-1]["lineage"])
        if found is None:
            raise StepError(
                f"the champion before (version {stack[-1]['version']}, commit "
                f"{stack[-1]['commit'][:12] or 'unknown'}) is not in the registry; go back to that "
                "commit and run `dvc repro`"
            )
        return found
    found = registry.version(task, to)
    if found.lineage not in {entry["to"]["lineage"] for entry in record.read(task)}:
        raise StepError(
            f"version {to} of {task} never was champion; `outplant promote {task} --version {to}`"
        )
    return found


def _move(action: str, old: Version | None, new: Version, entry: record.Entry) -> None:
    """Record the move, then make it; it begins where the record ends."""
    entries = record.read(new.task)
    was = old.reference() if old else entries[-1]["to"] if entries else None
    ends = {"from": was, "to": new.reference()}
    record.append(new.task, {"action": action} | ends | entry)
    registry.crown(new)


def _already(found: Version) -> Outcome:
    text = f"version {found.number} is the champion already"
    verdict = Verdict("promote", (Clause("champion", "another version", text, True),))
    return Outcome(False, verdict, f"{found.task}: {text}; nothing changed", found.number)


def _moved(new: Version, old: Version | None) -> str:
    was = f"it was version {old.number} ({old.recipe})" if old else "it is the first"
    return f"{new.task}: version {new.number} ({new.recipe}) is champion now; {was}"


def _kept(challenger: Version, verdict: Verdict) -> str:
    why = ", ".join(clause.name for clause in verdict.clauses if not clause.passed)
    return (
        f"{challenger.task}: version {challenger.number} ({challenger.recipe}) is not promoted,"
        f" {verdict.verdict} by: {why}"
    )
