"""Promotion from one registry into another, as from development's into production's.

The bytes go over, not a reference to them, and are compared where they arrive; then the same gate
judges the version against that registry's champion, and that registry's record is written.
"""

from dataclasses import replace

from pipelines import connection, promotion, registry
from pipelines.promotion import Outcome
from steps.core.params import choose, load


def promote(
    task: str, version: int | None, to: tuple[str, str], force: bool, reason: str
) -> Outcome:
    """Copy a version into another registry, unless it is there, and promote it in that one.

    to: the registry's address, and that of its record or nothing (see pipelines.record).
    """
    uri, record = to
    choose(task, load().tasks, "task")
    sent = registry.parcel(registry.version(task, version))
    with connection.at(uri, record):
        there = registry.receive(sent)
        outcome = promotion.promote(task, there.number, force, reason)
    where = f"in {connection.shown(uri)}, from version {sent.version.number} here"
    return replace(outcome, message=f"{outcome.message} ({where})")
