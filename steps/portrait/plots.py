"""Plots of a profile as SVG that takes the page's colours; same figures, same bytes.

They are drawn in stand-in colours, which become CSS variables.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.0  # inches
STAND_INS = {  # any colour that nothing else is drawn in
    "ink": "#010203",
    "muted": "#020304",
    "line": "#030405",
    "main": "#040506",
    "second": "#050607",
}
STYLE: Any = {
    "svg.hashsalt": "outplant",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": STAND_INS["ink"],
    "axes.labelcolor": STAND_INS["muted"],
    "axes.edgecolor": STAND_INS["line"],
    "xtick.color": STAND_INS["muted"],
    "ytick.color": STAND_INS["muted"],
    "ytick.left": False,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
}
CELL = 0.5  # inches of a heat map's row
ABREAST = 60  # characters of names that fit above a heat map
DEEPEST = 0.6  # opacity of a full cell: the figure in it stays readable


def length_plot(found: Mapping[str, Any], label: str) -> str:
    """How many records of each length; the lengths on a log scale, the median as a line."""
    rows = [row for row in found["histogram"] if row[0] and row[2]]  # a log scale has no 0
    if not rows:
        return ""
    with _drawing(2.5) as (figure, axes):
        _histogram(axes, rows)
        axes.set_xlim(left=max(found["p1"] / 2, 0.5), right=found["max"] * 1.15 + 1)
        axes.axvline(max(found["median"], 0.5), color=STAND_INS["second"], linestyle=(0, (4, 3)))
        axes.set_xlabel(label)
        return _svg(figure, f"histogram: {label}")


def _histogram(axes: "Axes", rows: Sequence[Sequence[int]]) -> None:
    lows, widths = [low for low, _, _ in rows], [high - low for low, high, _ in rows]
    axes.bar(
        [low - 0.5 for low in lows],
        [number for _, _, number in rows],
        widths,
        align="edge",
        color=STAND_INS["main"],
        edgecolor=STAND_INS["line"],
        linewidth=0.4,
    )
    axes.set_xscale("log")
    axes.grid(axis="y", color=STAND_INS["line"], linewidth=0.6)
    axes.set_xticks(_ticks(rows[0][0], rows[-1][1]))
    axes.xaxis.set_major_formatter(_plain)
    axes.yaxis.set_major_formatter(_plain)
    axes.minorticks_off()
    axes.locator_params(axis="y", nbins=4)


def heat_map(names: Sequence[str], values: Mapping[str, Mapping[str, float]], label: str) -> str:
    """Shares between rows and columns; the deeper, the more."""
    with _drawing(CELL * len(names) + 1.1) as (figure, axes):
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
        return _svg(figure, label)


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


@contextmanager
def _drawing(height: float) -> Iterator[tuple["Figure", "Axes"]]:
    """Give an empty figure; no pyplot, no global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: "Figure", label: str) -> str:
    """Return inline SVG: no prologue, no metadata, colours by the page's CSS variables."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', text)
    opening = f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{escape(label)}">'
    text = opening + text[text.index(">") + 1 :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = text.replace("xlink:href", "href")
    for name, colour in STAND_INS.items():
        text = text.replace(colour, f"var(--{name})")
    return text
