"""Recipes that add something to another one, held against it: what is added must pay by itself."""

from collections.abc import Mapping
from typing import Any

from steps.core.params import Recipe, choose
from steps.judge.bootstrap import verdict
from steps.judge.contest import Contest


def compare(contest: Contest, recipes: Mapping[str, Recipe]) -> list[dict[str, Any]]:
    """One entry for each recipe that says what it is without its addition; both must be there.

    StepError where it names no recipe.
    """
    found = []
    for name, recipe in sorted(recipes.items()):
        without = recipe.without
        if without is None:
            continue
        choose(without, recipes, f"recipe (in params.yaml, recipes.{name}.without)")
        if {name, without} <= contest.candidates.keys():
            paired = contest.versus(name, without)
            entry = {"recipe": name, "without": without, "verdict": verdict(paired)}
            found.append(entry | paired.numbers())
    return found
