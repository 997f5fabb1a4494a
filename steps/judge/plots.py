"""Plots of a comparison."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steps.drawing.svg import STAND_INS, drawing, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 7.4  # inches
ROW = 0.42
Row = tuple[str, Mapping[str, float], str]  # name, interval, role (a colour)


def forest(comparison: Mapping[str, Any]) -> str:
    """Scores on test and validation with intervals, each seed; the best by validation on top."""
    names = list(reversed(comparison["ranking"]))
    with drawing(WIDTH, ROW * len(names) + 0.75) as (figure, axes):
        for place, name in enumerate(names):
            _scores(axes, place, comparison["candidates"][name], role(comparison, name))
        line = comparison["candidates"][comparison["baseline"]]["test"]["mean"]
        axes.axvline(line, color=STAND_INS["baseline"], linewidth=1, linestyle=(0, (4, 3)))
        _names(axes, names, bold=comparison["winner"])
        less = " (lower is better)" if comparison["lower_is_better"] else ""
        axes.set_xlabel(comparison["metric_title"] + less)
        texts = [comparison["candidates"][name]["test"] for name in names]
        _beside(axes, [f"{t['mean']:.3f}  [{t['low']:.3f}, {t['high']:.3f}]" for t in texts])
        return svg(figure, f"{comparison['metric_title']} of each candidate with its interval")


def differences(rows: Sequence[Row], label: str) -> str:
    """Differences with their intervals around a line at zero; the first row is on top."""
    turned = list(reversed(rows))
    with drawing(WIDTH, ROW * len(turned) + 0.75) as (figure, axes):
        axes.axvline(0, color=STAND_INS["muted"], linewidth=1)
        for place, (_, found, colour) in enumerate(turned):
            _bar(axes, place, found, STAND_INS[colour])
            axes.plot(found["difference"], place, "o", color=STAND_INS[colour], markersize=6)
        _names(axes, [name for name, _, _ in turned], bold="")
        axes.set_xlabel(label)
        _beside(
            axes,
            [f"{f['difference']:+.3f}  [{f['low']:+.3f}, {f['high']:+.3f}]" for _, f, _ in turned],
        )
        return svg(figure, label)


def calibration_plot(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Share right against confidence; `curves`: role -> the curve of calibration."""
    with drawing(WIDTH, ROW * 8 + 0.75) as (figure, axes):
        figure.set_size_inches(4.2, 3.6)
        axes.plot([0, 1], [0, 1], color=STAND_INS["muted"], linewidth=1, linestyle=(0, (2, 3)))
        for colour, curve in curves.items():
            sure = [point["confidence"] for point in curve]
            right = [point["accuracy"] for point in curve]
            most = max(point["count"] for point in curve)
            sizes = [10 + 90 * point["count"] / most for point in curve]
            dashes = "-" if colour == "winner" else "--"
            axes.plot(sure, right, dashes, color=STAND_INS[colour], linewidth=1.4)
            axes.scatter(sure, right, s=sizes, color=STAND_INS[colour], linewidth=0)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share right")
        axes.grid(color=STAND_INS["line"], linewidth=0.6)
        return svg(figure, "calibration: share right against confidence")


def role(comparison: Mapping[str, Any], name: str) -> str:
    """Name a candidate's colour."""
    if name == comparison["winner"]:
        return "winner"
    return "baseline" if name == comparison["baseline"] else "other"


def _scores(axes: "Axes", place: int, one: Mapping[str, Any], colour: str) -> None:
    test, validation, ink = one["test"], one["validation"], STAND_INS[colour]
    _bar(axes, place, test, ink)
    axes.plot(test["mean"], place, "o", color=ink, markersize=7)
    below = place - 0.24
    axes.plot([validation["low"], validation["high"]], [below, below], color=ink, linewidth=0.8)
    axes.plot(
        validation["mean"], below, "o", markeredgecolor=ink, markerfacecolor="none", markersize=4.5
    )
    seeds = list(test["seeds"].values())
    axes.plot(seeds, [place + 0.2] * len(seeds), "|", color=ink, markersize=5)


def _bar(axes: "Axes", place: int, found: Mapping[str, float], colour: str) -> None:
    axes.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=2.4)


def _names(axes: "Axes", names: Sequence[str], bold: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=STAND_INS["line"], linewidth=0.6)
    axes.locator_params(axis="x", nbins=5)  # more would touch beside long names
    for tick in axes.get_yticklabels():
        tick.set_fontweight("bold" if tick.get_text() == bold else "normal")


def _beside(axes: "Axes", texts: Sequence[str]) -> None:
    """Write each row's figures to the right of the plot."""
    for place, text in enumerate(texts):
        axes.text(
            1.02,
            place,
            text.replace("-", "−"),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
        )
