"""Plots as SVG that takes the page's colours: drawn by matplotlib in stand-in colours, which become
CSS variables, so that one file serves light and dark. Same figures, same bytes.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.4  # inches
ROW = 0.42
STAND_INS = {  # any colour that nothing else is drawn in
    "ink": "#010203",
    "muted": "#020304",
    "line": "#030405",
    "winner": "#040506",
    "baseline": "#050607",
    "other": "#060708",
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
    "ytick.color": STAND_INS["ink"],
    "ytick.left": False,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
}
Row = tuple[str, Mapping[str, float], str]  # name, interval, role (a colour)


def forest(comparison: Mapping[str, Any]) -> str:
    """Scores on test and validation with intervals, each seed; the best by validation on top."""
    names = list(reversed(comparison["ranking"]))
    with _drawing(len(names)) as (figure, axes):
        for place, name in enumerate(names):
            _scores(axes, place, comparison["candidates"][name], role(comparison, name))
        line = comparison["candidates"][comparison["baseline"]]["test"]["mean"]
        axes.axvline(line, color=STAND_INS["baseline"], linewidth=1, linestyle=(0, (4, 3)))
        _names(axes, names, bold=comparison["winner"])
        axes.set_xlabel(comparison["metric_title"])
        texts = [comparison["candidates"][name]["test"] for name in names]
        _beside(axes, [f"{t['mean']:.3f}  [{t['low']:.3f}, {t['high']:.3f}]" for t in texts])
        return _svg(figure, f"{comparison['metric_title']} of each candidate with its interval")


def differences(rows: Sequence[Row], label: str) -> str:
    """Differences with their intervals around a line at zero; the first row is on top."""
    turned = list(reversed(rows))
    with _drawing(len(turned)) as (figure, axes):
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
        return _svg(figure, label)


def calibration_plot(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Share right against confidence; `curves`: role -> the curve of calibration."""
    with _drawing(8) as (figure, axes):
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
        return _svg(figure, "calibration: share right against confidence")


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


@contextmanager
def _drawing(rows: int) -> Iterator[tuple["Figure", "Axes"]]:
    """Give an empty figure as high as its rows need; no pyplot, no global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, ROW * rows + 0.75), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: "Figure", label: str) -> str:
    """Return inline SVG: no prologue, no metadata, colours by the page's CSS variables."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening(label), text, count=1)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for name, colour in STAND_INS.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def _opening(label: str) -> str:
    return rf'<svg viewBox="\1" role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
