"""Was adaptation worth it? Recipes that differ in their start alone, on the same items."""

import json
from collections.abc import Mapping
from typing import Any

from steps.core.adaptations import MODELS
from steps.core.candidates import AUGMENTED, CANDIDATES
from steps.core.params import Recipe
from steps.judge import adaptation_costs as costs
from steps.judge.adaptation_costs import Losses, below
from steps.judge.bootstrap import verdict
from steps.judge.contest import Contest
from steps.judge.wording import turned, worth

DOMAIN = "domain/"  # parts on which a control is measured: its original's text
OWN = {"start", "without", "tasks"}  # what twins need not have in common

Recipes = Mapping[str, Recipe]


def compare(contest: Contest, recipes: Recipes, losses: Losses) -> list[dict[str, Any]]:
    """One entry for each adapted recipe and its twin from the base, where both are candidates."""
    there = {name: recipe for name, recipe in recipes.items() if name in contest.candidates}
    return [
        _entry(contest, base, adapted, twins, losses)
        for twins in _twins(there)
        for base in sorted(name for name, start in twins.items() if _is_base(start))
        for adapted in sorted(name for name, start in twins.items() if below(start))
    ]


def _twins(recipes: Recipes) -> list[dict[str, str]]:
    """Recipe -> start, in groups whose strategy and knobs are the same."""
    groups: dict[str, dict[str, str]] = {}
    for name, recipe in recipes.items():
        knobs = recipe.model_dump(exclude=OWN)
        groups.setdefault(json.dumps(knobs, sort_keys=True), {})[name] = recipe.start
    return [twins for _, twins in sorted(groups.items())]


def _is_base(start: str) -> bool:
    return not start.startswith((MODELS, CANDIDATES, AUGMENTED))


def _entry(
    contest: Contest,
    base: str,
    adapted: str,
    twins: Mapping[str, str],
    losses: Losses,
) -> dict[str, Any]:
    name = below(twins[adapted])
    chain, found = costs.chain(name, losses), _judged(contest, adapted, base)
    spent = costs.minutes(chain, losses)
    entry = {
        "strategy": contest.candidates[adapted].about["strategy"],
        "from": base,
        "to": adapted,
        "adaptation": name,
        "is_control": _original(name, losses) is not None,
        "losses": dict(losses.get(name, {})),
        "device_minutes": spent,
        "gain_per_hour": costs.per_hour(found, spent),
        "forgetting": costs.forgetting(chain, losses),
        "vocabulary_overlap": costs.vocabulary_overlap(chain, losses),
        "versus_start": _versus_start(contest, adapted, chain, twins, losses),
        "split": _split(contest, base, adapted, twins, losses),
        **found,
    }
    unit = turned(contest.metric.title, contest.metric.better < 0)
    return entry | {"sentence": worth(entry, unit, contest.judge.confidence)}


def _versus_start(
    contest: Contest, adapted: str, chain: list[str], twins: Mapping[str, str], losses: Losses
) -> dict[str, Any] | None:
    """Against the adaptation that this one goes on from; None where that is a base or untried."""
    recipes = [r for r, start in sorted(twins.items()) if [below(start)] == chain[1:2]]
    if not recipes:
        return None
    found, spent = _judged(contest, adapted, recipes[0]), costs.minutes(chain[:1], losses)
    return {
        "recipe": recipes[0],
        "adaptation": chain[1],
        "device_minutes": spent,
        "gain_per_hour": costs.per_hour(found, spent),
        **found,
    }


def _original(adaptation: str, losses: Losses) -> Any:
    """The adaptation whose control this is; None where it is none."""
    return losses.get(adaptation, {}).get("control_of")


def _split(
    contest: Contest, base: str, adapted: str, twins: Mapping[str, str], losses: Losses
) -> dict[str, Any] | None:
    """Objective = control - base, domain = adapted - control; None without a control of it."""
    name = below(twins[adapted])
    controls = {
        recipe: control
        for recipe, start in sorted(twins.items())
        if (control := below(start)) and _original(control, losses) == name
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
    """`seeds_match`: whether both were trained with the same seeds."""
    found = contest.versus(a, b)
    seeds = [contest.candidates[name].parts["test"].seeds for name in (a, b)]
    return {"verdict": verdict(found), **found.numbers(), "seeds_match": seeds[0] == seeds[1]}
