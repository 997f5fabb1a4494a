"""What an adaptation took and what it changed: itself, and those that it goes on from."""

from collections.abc import Mapping
from typing import Any

from steps.core.adaptations import MODELS
from steps.judge.values import rounded

READ = ("corpora", "tasks")  # kinds of parts that are the field's text

Losses = Mapping[str, Mapping[str, Any]]  # an adaptation -> what metrics/adapt has of it


def below(start: str) -> str:
    """The adaptation that a start is made by; nothing where it is a base."""
    return start.removeprefix(MODELS).strip("/") if start.startswith(MODELS) else ""


def chain(name: str, losses: Losses) -> list[str]:
    """An adaptation, the one that it starts from, and so on down to the base."""
    found = [name]
    while start := below(str(losses.get(found[-1], {}).get("start", ""))):
        found.append(start)
    return found


def minutes(names: list[str], losses: Losses) -> float | None:
    """Device minutes of adaptations together; None where those of one are not known."""
    spent = [losses.get(name, {}).get("device_seconds") for name in names]
    known = [seconds for seconds in spent if seconds is not None]
    return rounded(sum(known) / 60) if len(known) == len(names) else None


def per_hour(found: Mapping[str, float], spent: float | None) -> dict[str, float] | None:
    """A difference and its interval by the device hours that it cost."""
    if not spent:
        return None
    named = {"value": "difference", "low": "low", "high": "high"}
    return {name: rounded(found[key] * 60 / spent) for name, key in named.items()}


def forgetting(names: list[str], losses: Losses) -> dict[str, float] | None:
    """By how much the loss on general text has risen, on each that all of a chain have measured."""
    measured = [losses.get(name, {}).get("forgetting") or {} for name in names]
    parts = set.intersection(*(set(one) for one in measured))
    return {part: rounded(sum(one[part] for one in measured)) for part in sorted(parts)} or None


def vocabulary_overlap(names: list[str], losses: Losses) -> dict[str, float] | None:
    """Share of the task's words that each text has which a chain has read."""
    every = [losses.get(name, {}).get("vocabulary_overlap") or {} for name in names]
    return {part: one[part] for one in every for part in sorted(one)} or None


def with_overlap(losses: Losses, task: str, overlap: Mapping[str, Any]) -> Losses:
    """Put beside each adaptation's losses the share of a task's words that its texts have, by
    data/profiles/overlap's `overlap`; a text without a profile is not among them.
    """
    shares: Mapping[str, float] = overlap.get(f"tasks/{task}", {})
    return {
        name: {
            **one,
            "vocabulary_overlap": {
                part: rounded(shares[part])
                for part in one.get("held_out", {})
                if part.split("/")[0] in READ and part in shares
            },
        }
        for name, one in losses.items()
    }
