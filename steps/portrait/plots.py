"""Plots of a profile."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steps.drawing.svg import STAND_INS, drawing, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 6.0  # inches
CELL = 0.5  # inches of a heat map's row
ABREAST = 60  # characters of names that fit above a heat map
DEEPEST = 0.6  # opacity of a full cell: the figure in it stays readable


def length_plot(found: Mapping[str, Any], label: str) -> str:
    """How many records of each length; the lengths on a log scale, the median as a line."""
    rows = [row for row in found["histogram"] if row[0] and row[2]]  # a log scale has no 0
    if not rows:
        return ""
    with drawing(WIDTH, 2.5) as (figure, axes):
        _histogram(axes, rows)
        axes.set_xlim(left=max(found["p1"] / 2, 0.5), right=found["max"] * 1.15 + 1)
        axes.axvline(max(found["median"], 0.5), color=STAND_INS["second"], linestyle=(0, (4, 3)))
        axes.set_xlabel(label)
        axes.tick_params(axis="y", labelcolor=STAND_INS["muted"])
        return svg(figure, f"histogram: {label}")


def score_plot(found: Mapping[str, Any]) -> str:
    """How many records of each score, the median as a line; nothing where all are the same."""
    rows = found["histogram"]
    if len(rows) < 2:
        return ""
    with drawing(WIDTH, 2.5) as (figure, axes):
        _bars(axes, [low for low, _, _ in rows], rows)
        axes.axvline(found["median"], color=STAND_INS["second"], linestyle=(0, (4, 3)))
        axes.yaxis.set_major_formatter(_plain)
        axes.locator_params(axis="y", nbins=4)
        axes.set_xlabel("score")
        axes.tick_params(axis="y", labelcolor=STAND_INS["muted"])
        return svg(figure, "histogram: scores")


def _bars(axes: "Axes", lefts: Sequence[float], rows: Sequence[Sequence[float]]) -> None:
    axes.bar(
        lefts,
        [number for _, _, number in rows],
        [high - low for low, high, _ in rows],
        align="edge",
        color=STAND_INS["main"],
        edgecolor=STAND_INS["line"],
        linewidth=0.4,
    )
    axes.grid(axis="y", color=STAND_INS["line"], linewidth=0.6)


def _histogram(axes: "Axes", rows: Sequence[Sequence[int]]) -> None:
    _bars(axes, [low - 0.5 for low, _, _ in rows], rows)
    axes.set_xscale("log")
    axes.set_xticks(_ticks(rows[0][0], rows[-1][1]))
    axes.xaxis.set_major_formatter(_plain)
    axes.yaxis.set_major_formatter(_plain)
    axes.minorticks_off()
    axes.locator_params(axis="y", nbins=4)


def heat_map(names: Sequence[str], values: Mapping[str, Mapping[str, float]], label: str) -> str:
    """Shares between rows and columns; the deeper, the more."""
    with drawing(WIDTH, CELL * len(names) + 1.1) as (figure, axes):
        for y, row in enumerate(names):
            for x, column in enumerate(names):
                _cell(axes, x, y, values[row][column])
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xticks(range(len(names)), names)
        if sum(map(len, names)) > ABREAST:
            for tick in axes.get_xticklabels():
                tick.set(rotation=35, ha="left")
        axes.set_yticks(range(len(names)), names)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, colors=STAND_INS["ink"])
        axes.spines["bottom"].set_visible(False)
        return svg(figure, label)


def _cell(axes: "Axes", x: int, y: int, value: float) -> None:
    from matplotlib.patches import Rectangle

    strength = DEEPEST * max(0.0, min(1.0, value))
    place = (x - 0.47, y - 0.45)
    axes.add_patch(
        Rectangle(place, 0.94, 0.9, facecolor=STAND_INS["main"], alpha=strength, linewidth=0)
    )
    axes.text(x, y, f"{value:.0%}", ha="center", va="center")


def _ticks(low: int, high: int) -> list[int]:
    """1, 2, 5, 10, ... where few tens apart, else 1, 10, 100, ..."""
    steps = (1, 2, 5) if high < 500 * low else (1,)
    found = [step * 10**power for power in range(len(str(high))) for step in steps]
    return [tick for tick in found if low <= tick <= high]


def _plain(value: float, _: float) -> str:
    return f"{value:,.0f}" if value >= 1 else ""
