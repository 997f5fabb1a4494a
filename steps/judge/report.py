"""The report of a task: one HTML file, no network, no script, for light, dark and paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from steps.judge.calibration import calibration, corrects, scaled_confidences
from steps.judge.contest import Contest
from steps.judge.learning_plot import learning_plot
from steps.judge.plots import Row, calibration_plot, differences, forest, role
from steps.judge.shading import METHODS, shaded, strongest
from steps.judge.wording import SHOWN, chance, megabytes, plain, signed, size, turned

TEMPLATE = Path(__file__).with_name("report.html.j2")
CONFLICTS = 5  # shown


@dataclass(frozen=True)
class Evidence:
    """What the report shows beyond comparison.json; `bins` are the calibration curve's.

    `overlap`: of each held-out part how many examples training has, by level.
    """

    contest: Contest
    counts: Mapping[str, int]
    conflicts: Sequence[Mapping[str, Any]]
    bins: int
    overlap: Mapping[str, Mapping[str, int]] | None = None


def render(comparison: Mapping[str, Any], evidence: Evidence) -> str:
    """Return the page of a whole comparison, its errors included; text from data is escaped."""
    room = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    room.filters.update(signed=signed, plain=plain, size=size, chance=chance, megabytes=megabytes)
    contest = evidence.contest
    page = room.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return page.render(
        c=comparison,
        plots=_plots(comparison, evidence),
        errors=_errors(comparison, contest),
        methods=METHODS,
        counts=evidence.counts,
        conflicts=list(evidence.conflicts)[:CONFLICTS],
        conflict_count=len(evidence.conflicts),
        overlap=evidence.overlap or {},
        shown=SHOWN,
        roles={name: role(comparison, name) for name in comparison["ranking"]},
    )


def _plots(comparison: Mapping[str, Any], evidence: Evidence) -> dict[str, str]:
    title, less = comparison["metric_title"], comparison["lower_is_better"]
    said = {
        "differences": (_against_baseline(comparison), "difference from the baseline"),
        "adaptation": (_adaptation(comparison), "difference that adaptation makes"),
        "ablations": (_ablations(comparison), "difference that the addition makes"),
        "slices": (_slices(comparison), "winner − baseline"),
    }
    drawn = {
        name: differences(rows, turned(f"{title}, {label}", less)) if rows else ""
        for name, (rows, label) in said.items()
    }
    curves = _curves(comparison, evidence)
    fit = calibration_plot(curves) if any(curves.values()) else ""
    learning = comparison.get("learning")
    curve = learning_plot(learning) if learning and len(learning["points"]) > 1 else ""
    return drawn | {"forest": forest(comparison), "calibration": fit, "learning": curve}


def _errors(comparison: Mapping[str, Any], contest: Contest) -> list[dict[str, Any]]:
    """Errors with their texts in colours, where it is known what the winner went by."""
    references = contest.references["test"]
    items = dict(zip(references.ids, references.examples, strict=True))
    found = []
    for error in comparison["errors"]:
        item = items[error["id"]]
        fields = shaded(error, item, references.kind)
        words = {"up": strongest(error, item, 1), "down": strongest(error, item, -1)}
        found.append({**error, "fields": fields, **words})
    return found


def _against_baseline(comparison: Mapping[str, Any]) -> list[Row]:
    return [
        (name, comparison["candidates"][name]["vs_baseline"], role(comparison, name))
        for name in comparison["ranking"]
        if name != comparison["baseline"]
    ]


def _adaptation(comparison: Mapping[str, Any]) -> list[Row]:
    return [
        (f"{entry['to']} − {entry['from']}", entry, role(comparison, entry["to"]))
        for entry in comparison["adaptation"]
    ]


def _ablations(comparison: Mapping[str, Any]) -> list[Row]:
    return [
        (f"{entry['recipe']} − {entry['without']}", entry, role(comparison, entry["recipe"]))
        for entry in comparison["ablations"]
    ]


def _slices(comparison: Mapping[str, Any]) -> list[Row]:
    if comparison["winner"] == comparison["baseline"]:
        return []
    return [
        (f"{_worse(row)}{row['kind']}: {row['slice']} ({row['items']})", row, "winner")
        for row in comparison["slices"]
    ]


def _worse(row: Mapping[str, Any]) -> str:
    return "▼ " if row.get("verdict") == "refuse" else ""


def _curves(
    comparison: Mapping[str, Any], evidence: Evidence
) -> dict[str, Sequence[Mapping[str, float]]]:
    """Calibration on test of winner and baseline, all seeds together; in the colour of the others
    the winner's at the temperatures that its bundle answers by, where these change anything.
    """
    references = evidence.contest.references["test"]
    texts = [example["text"] for example in references.examples]
    found = {}
    for name in dict.fromkeys((comparison["baseline"], comparison["winner"])):
        said = evidence.contest.candidates[name].parts["test"]
        right = [
            share
            for values in said.values
            for share in corrects(references.kind, texts, references.values, values)
        ]
        curve = calibration(said.confidences.ravel().tolist(), right, evidence.bins)["curve"]
        found[role(comparison, name)] = curve
        at = comparison["candidates"][name].get("temperatures") or {}
        shares = said.probabilities
        if name == comparison["winner"] and set(at.values()) - {1.0} and shares is not None:
            each = [at[str(seed)] for seed in said.seeds]
            sure = scaled_confidences(references.kind, shares, each)
            found["other"] = calibration(sure.ravel().tolist(), right, evidence.bins)["curve"]
    return found
