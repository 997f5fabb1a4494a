"""Was adaptation worth it? Recipes that differ in their start alone, on the same items."""

import json
from collections.abc import Mapping
from typing import Any

from steps.core.params import Recipe
from steps.judge.bootstrap import verdict
from steps.judge.contest import Contest
from steps.judge.wording import worth

MODELS = "models/"  # where checkpoints that were adapted lie; any other start is a base
CONTROL = "control"  # an adaptation with this in its name saw text of another domain

Recipes = Mapping[str, Recipe]


def compare(
    contest: Contest, recipes: Recipes, losses: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One entry for each adapted recipe and its twin from the base; `losses`: metrics/adapt."""
    return [
        _entry(contest, base, adapted, twins, losses)
        for twins in _twins(recipes)
        for base in sorted(name for name, start in twins.items() if not _adaptation(start))
        for adapted in sorted(name for name, start in twins.items() if _adaptation(start))
    ]


def _twins(recipes: Recipes) -> list[dict[str, str]]:
    """Recipe -> start, in groups whose strategy and knobs are the same."""
    groups: dict[str, dict[str, str]] = {}
    for name, recipe in recipes.items():
        knobs = {key: value for key, value in recipe.model_dump().items() if key != "start"}
        groups.setdefault(json.dumps(knobs, sort_keys=True), {})[name] = recipe.start
    return [twins for _, twins in sorted(groups.items())]


def _adaptation(start: str) -> str:
    return start.removeprefix(MODELS).strip("/") if start.startswith(MODELS) else ""


def _entry(
    contest: Contest,
    base: str,
    adapted: str,
    twins: Mapping[str, str],
    losses: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    name = _adaptation(twins[adapted])
    entry = {
        "strategy": contest.candidates[adapted].about["strategy"],
        "from": base,
        "to": adapted,
        "adaptation": name,
        "is_control": CONTROL in name,
        "losses": dict(losses.get(name, {})),
        "split": _split(contest, base, adapted, twins),
        **_judged(contest, adapted, base),
    }
    title, confidence = contest.metric.title, contest.judge.confidence
    return entry | {"sentence": worth(entry, title, confidence)}


def _split(
    contest: Contest, base: str, adapted: str, twins: Mapping[str, str]
) -> dict[str, Any] | None:
    """Objective = control - base, domain = adapted - control; None without a control."""
    controls = sorted(name for name, start in twins.items() if CONTROL in _adaptation(start))
    if not controls or adapted in controls:
        return None
    return {
        "control": controls[0],
        "objective": _judged(contest, controls[0], base),
        "domain": _judged(contest, adapted, controls[0]),
    }


def _judged(contest: Contest, a: str, b: str) -> dict[str, Any]:
    found = contest.versus(a, b)
    return {"verdict": verdict(found), **found.numbers()}
