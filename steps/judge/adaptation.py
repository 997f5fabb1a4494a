"""Was adaptation worth it? Recipes that differ in their start alone, on the same items."""

import json
from collections.abc import Mapping
from typing import Any

from steps.core.candidates import AUGMENTED, CANDIDATES
from steps.core.params import Recipe
from steps.judge.bootstrap import verdict
from steps.judge.contest import Contest
from steps.judge.wording import turned, worth

MODELS = "models/"  # where checkpoints that were adapted lie
DOMAIN = "domain/"  # parts on which a control is measured: its original's text
OWN = {"start", "without", "tasks"}  # what twins need not have in common

Recipes = Mapping[str, Recipe]
Losses = Mapping[str, Mapping[str, Any]]  # an adaptation -> what metrics/adapt has of it


def compare(contest: Contest, recipes: Recipes, losses: Losses) -> list[dict[str, Any]]:
    """One entry for each adapted recipe and its twin from the base, where both are candidates."""
    there = {name: recipe for name, recipe in recipes.items() if name in contest.candidates}
    return [
        _entry(contest, base, adapted, twins, losses)
        for twins in _twins(there)
        for base in sorted(name for name, start in twins.items() if _is_base(start))
        for adapted in sorted(name for name, start in twins.items() if _adaptation(start))
    ]


def _twins(recipes: Recipes) -> list[dict[str, str]]:
    """Recipe -> start, in groups whose strategy and knobs are the same."""
    groups: dict[str, dict[str, str]] = {}
    for name, recipe in recipes.items():
        knobs = recipe.model_dump(exclude=OWN)
        groups.setdefault(json.dumps(knobs, sort_keys=True), {})[name] = recipe.start
    return [twins for _, twins in sorted(groups.items())]


def _adaptation(start: str) -> str:
    return start.removeprefix(MODELS).strip("/") if start.startswith(MODELS) else ""


def _is_base(start: str) -> bool:
    return not start.startswith((MODELS, CANDIDATES, AUGMENTED))


def _entry(
    contest: Contest,
    base: str,
    adapted: str,
    twins: Mapping[str, str],
    losses: Losses,
) -> dict[str, Any]:
    name = _adaptation(twins[adapted])
    entry = {
        "strategy": contest.candidates[adapted].about["strategy"],
        "from": base,
        "to": adapted,
        "adaptation": name,
        "is_control": _original(name, losses) is not None,
        "losses": dict(losses.get(name, {})),
        "split": _split(contest, base, adapted, twins, losses),
        **_judged(contest, adapted, base),
    }
    unit = turned(contest.metric.title, contest.metric.better < 0)
    return entry | {"sentence": worth(entry, unit, contest.judge.confidence)}


def _original(adaptation: str, losses: Losses) -> Any:
    """The adaptation whose control this is; None where it is none."""
    return losses.get(adaptation, {}).get("control_of")


def _split(
    contest: Contest, base: str, adapted: str, twins: Mapping[str, str], losses: Losses
) -> dict[str, Any] | None:
    """Objective = control - base, domain = adapted - control; None without a control of it."""
    name = _adaptation(twins[adapted])
    controls = {
        recipe: control
        for recipe, start in sorted(twins.items())
        if (control := _adaptation(start)) and _original(control, losses) == name
    }
    if not controls:
        return None
    recipe, control = next(iter(controls.items()))
    return {
        "control": recipe,
        "held_out": _on_domain(losses.get(name, {}), losses[control]),
        "objective": _judged(contest, recipe, base),
        "domain": _judged(contest, adapted, recipe),
    }


def _on_domain(
    adapted: Mapping[str, Any], control: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Held-out loss on each part of the field, after adaptation to it and after the control.

    Where tokens were added each has a vocabulary of its own, and losses a token are no match.
    """
    if adapted.get("new_tokens") or control.get("new_tokens"):
        return {}
    theirs = control.get("held_out", {})
    found = {}
    for part, losses in adapted.get("held_out", {}).items():
        kind, _, name = part.partition("/")
        if kind != "replay" and f"{DOMAIN}{name}" in theirs:
            after = theirs[f"{DOMAIN}{name}"]["after"]
            found[name] = {"adapted": losses["after"], "control": after}
    return found


def _judged(contest: Contest, a: str, b: str) -> dict[str, Any]:
    found = contest.versus(a, b)
    return {"verdict": verdict(found), **found.numbers()}
