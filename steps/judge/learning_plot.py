"""A learning curve as a plot for the report."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steps.drawing.svg import STAND_INS, drawing, svg
from steps.judge.plots import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 3.2  # inches
INK = "winner"


def learning_plot(learning: Mapping[str, Any]) -> str:
    """Points with their intervals, each seed, and the fitted law with its band; labels by their
    orders of magnitude. `learning` is what learning.json has.
    """
    with drawing(WIDTH, HEIGHT) as (figure, axes):
        if learning["band"]:
            _law(axes, learning["band"])
        for point in learning["points"]:
            _point(axes, point)
        _label(axes, learning)
        return svg(figure, f"{learning['metric_title']} of {learning['recipe']} by labels")


def _law(axes: "Axes", band: list[Mapping[str, float]]) -> None:
    labels, middle, low, high = (
        [one[name] for one in band] for name in ("labels", "mean", "low", "high")
    )
    axes.fill_between(labels, low, high, color=STAND_INS["line"], linewidth=0, alpha=0.6)
    axes.plot(labels, middle, color=STAND_INS["muted"], linewidth=1.4, linestyle=(0, (4, 3)))


def _point(axes: "Axes", point: Mapping[str, Any]) -> None:
    at, ink = point["labels"], STAND_INS[INK]
    axes.plot([at, at], [point["low"], point["high"]], color=ink, linewidth=2.4)
    axes.plot(at, point["mean"], "o", color=ink, markersize=6)
    seeds = list(point["seeds"].values())
    axes.plot([at * 1.03] * len(seeds), seeds, "_", color=ink, markersize=6)


def _label(axes: "Axes", learning: Mapping[str, Any]) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    places = [point["labels"] for point in learning["points"]]
    ends = [one["labels"] for one in learning["band"][-1:]]
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(places + ends, [f"{n:,}" for n in places + ends])
    axes.grid(axis="y", color=STAND_INS["line"], linewidth=0.6)
    less = " (lower is better)" if learning["lower_is_better"] else ""
    axes.set(xlabel="labels", ylabel=learning["metric_title"] + less)
