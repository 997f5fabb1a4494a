"""Plots as SVG that takes the page's colours: drawn by matplotlib in stand-in colours, which become
CSS variables, so that one file serves light and dark. Same figures, same bytes.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Any colour that nothing else is drawn in; the page says what each is
NAMES = ("ink", "muted", "line", "winner", "baseline", "other", "main", "second")
STAND_INS = {name: f"#{at:02x}{at + 1:02x}{at + 2:02x}" for at, name in enumerate(NAMES, 1)}
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


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple["Figure", "Axes"]]:
    """Give an empty figure, its size in inches; no pyplot, no global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def svg(figure: "Figure", label: str) -> str:
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
