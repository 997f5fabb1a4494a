"""*Should we annotate more?* A text made from the figures of a learning curve."""

from collections.abc import Mapping
from typing import Any

from steps.judge.learning import FAR, FEWEST
from steps.judge.wording import plain, signed, span

ASKED = "Should we annotate more?"


def annotate(learning: Mapping[str, Any]) -> str:
    """Answer from learning.json's own figures; *not shown* where they do not show it."""
    if len(learning["points"]) < FEWEST:
        return (
            f"{ASKED} Not shown: a power law needs {FEWEST} points or more, and the learning curve "
            f"has {len(learning['points'])}; name more numbers of labels."
        )
    said = [_next(learning), *map(_needed(learning), learning["needed"]), _seeds(learning)]
    return " ".join([ASKED, *filter(None, said)])


def pays(found: Mapping[str, float]) -> bool:
    """Whether a gain is shown: even the low end of its interval is more than nothing, rounded."""
    return round(found["low"], 3) > 0


def _next(learning: Mapping[str, Any]) -> str:
    found = learning["next"]
    gain = (
        f"the next {found['labels']} labels buy {signed(found['gain'])} {_unit(learning)} "
        f"({span(found, learning['confidence'])})"
    )
    through = f"a power law through {len(learning['points'])} points of {learning['recipe']}"
    if learning["fit"] is None:
        return f"Not shown: the curve does not rise; by {through}, {gain}."
    if not pays(found):
        return f"Not shown: by {through}, {gain}."
    return f"Labels still pay: by {through}, {gain}. Whether that is worth their price is yours."


def _unit(learning: Mapping[str, Any]) -> str:
    less = ", where lower is better and + is a gain," if learning["lower_is_better"] else ""
    return f"{learning['metric_title']}{less}"


def _needed(learning: Mapping[str, Any]) -> Any:
    """Say how many labels a score needs, as today's law has it."""
    today = learning["points"][-1]["labels"]
    far = f"within {FAR} times today's {today:,} labels"

    def said(found: Mapping[str, Any]) -> str:
        score = f"{plain(found['score'])} {learning['metric_title']}"
        if found["labels"] is None:
            near = (found["low"] or 0) > today
            reach = f", at best with {found['low']:,}" if near else ""
            return f"By that law {score} is not reached {far}{reach}."
        if found["high"] is None:
            ends = f"from {found['low']:,} to no number {far}"
        else:
            ends = f"{found['low']:,} to {found['high']:,}"
        return f"About {found['labels']:,} labels are needed for {score} ({ends})."

    return said


def _seeds(learning: Mapping[str, Any]) -> str:
    if len(learning["points"][-1]["seeds"]) > 1:
        return ""
    return "With one seed, what another draw of labels would change is not measured."
