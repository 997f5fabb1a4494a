"""The page of a check: one HTML file, no network, no script, for light, dark and paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from steps.drawing.svg import STAND_INS, drawing, svg
from steps.judge.plots import ROW, WIDTH, Row, differences
from steps.judge.wording import chance, plain, signed, turned

TEMPLATE = Path(__file__).with_name("check.html.j2")
MOST_LABELS = 20  # drawn
PARTS = {"labels": "Labels predicted", "numbers": "What was predicted", "confidence": "Confidence"}
Figures = Mapping[str, Any]


def render(found: Figures) -> str:
    """Return the page of a check; text from data is escaped."""
    room = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    room.filters.update(signed=signed, plain=plain, chance=chance, percent=percent)
    labels = found["predictions"]["labels"]
    sure = found["predictions"]["confidence"]["histogram"]
    return room.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        c=found,
        headline=headline(found),
        parts=PARTS,
        plots={
            "differences": _differences(found),
            "labels": _labels(labels["shares"]) if labels else "",
            "confidence": _confidence(sure) if sure else "",
        },
    )


def headline(found: Figures) -> str:
    """What was found, in four sentences."""
    if "requests" in found:
        asked = found["requests"]
        first = (
            f"The champion was asked {asked['rows']} texts from {asked['from'][:10]} to "
            f"{asked['until'][:10]}; what is right of them nobody has said, so that there is no "
            "metric."
        )
        return f"{first} {_inputs(found)} {_predictions(found)}"
    now, test, title = found["now"], found["registered"], found["metric_title"]
    said = {
        "better": "better than when it was registered",
        "worse": "worse than when it was registered",
        "steady": f"steady: a fall of more than {plain(found['margin'])} is ruled out",
        "inconclusive": "neither shown worse than when it was registered nor shown steady",
    }[found["verdict"]]
    first = (
        f"On the newest data the champion is {said}. It has {title} {plain(now['value'])} "
        f"({found['confidence']:.0%} interval {plain(now['low'])} to {plain(now['high'])}), "
        f"and was registered with {plain(test['mean'])}."
    )
    return f"{first} {_inputs(found)} {_predictions(found)}"


def percent(share: float | None) -> str:
    """A share as a percentage, or a dash."""
    return "–" if share is None else f"{100 * share:.1f}%"


def _inputs(found: Figures) -> str:
    if found["inputs"] is None:
        return "What it learnt from is not at hand, so that nobody can tell whether texts moved."
    told = found["inputs"]["told_apart"]["since_registration"]
    if told["p"] is None:
        return f"Whether the texts have moved can't be told: {told['why']}."
    if found["inputs_verdict"] == "not shown":
        return "That the texts have moved is not shown."
    by = f"a classifier tells new from old (AUC {told['value']:.2f})"
    return f"The texts have moved{most_moved(found)}: {by}."


def most_moved(found: Figures) -> str:
    """Name the slice of the texts that moved most, in a clause; nothing where none is shown to."""
    slices = [row for row in (found["inputs"] or {"slices": []})["slices"] if row["moved"]]
    return f", most of all {slices[0]['kind']} {slices[0]['slice']}" if slices else ""


def _predictions(found: Figures) -> str:
    return {
        "moved": "Its predictions have moved.",
        "not shown": "That its predictions have moved is not shown.",
    }.get(found["predictions_verdict"], "Whether its predictions have moved can't be told.")


def _differences(found: Figures) -> str:
    rows: list[Row] = []
    if "requests" in found:
        return ""
    if found["difference"]:
        rows.append(("all items", found["difference"], "winner"))
    rows += [
        (f"{row['kind']}: {row['slice']} ({row['items']})", row, "other")
        for row in found["slices"]
        if row.get("difference") is not None
    ]
    label = f"{found['metric_title']}, now − registered"
    return differences(rows, turned(label, found["lower_is_better"])) if rows else ""


def _labels(shares: Mapping[str, Sequence[float]]) -> str:
    """Shares of the labels, registered and now, side by side; the most frequent on top."""
    names = sorted(shares, key=lambda name: max(shares[name]))[-MOST_LABELS:]
    with drawing(WIDTH, ROW * len(names) + 0.75) as (figure, axes):
        for at, (side, above) in enumerate((("other", 0.2), ("winner", -0.2))):
            places = [place + above for place in range(len(names))]
            widths = [100 * shares[name][at] for name in names]
            axes.barh(places, widths, 0.36, color=STAND_INS[side])
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color=STAND_INS["line"], linewidth=0.6)
        axes.set_xlabel("% of the labels predicted")
        return svg(figure, "shares of the labels predicted, when registered and now")


def _confidence(histogram: Sequence[Sequence[float]]) -> str:
    """Shares of the items by confidence; histogram: rows of (from, registered, now)."""
    with drawing(WIDTH, 2.5) as (figure, axes):
        edges = [*(row[0] for row in histogram), 1.0]
        for at, side in ((1, "other"), (2, "winner")):
            heights = [100 * row[at] for row in histogram]
            axes.stairs(heights, edges, color=STAND_INS[side], linewidth=1.8)
        axes.set_xlabel("confidence")
        axes.set_ylabel("% of the items")
        axes.grid(axis="y", color=STAND_INS["line"], linewidth=0.6)
        return svg(figure, "confidence when registered and now")
