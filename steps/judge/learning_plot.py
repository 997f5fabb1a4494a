"""The learning curve of a task: a stand-in until the learning curve's own plot is merged."""

from collections.abc import Mapping
from typing import Any

from steps.drawing.svg import STAND_INS, drawing, svg

WIDTH, HEIGHT = 7.4, 3.2  # inches


def learning_plot(learning: Mapping[str, Any]) -> str:
    """Score against labels, with intervals."""
    points = learning["points"]
    labels = [point["labels"] for point in points]
    means = [point["mean"] for point in points]
    with drawing(WIDTH, HEIGHT) as (figure, axes):
        lows, highs = ([point[name] for point in points] for name in ("low", "high"))
        axes.vlines(labels, lows, highs, color=STAND_INS["winner"], linewidth=2.4)
        axes.plot(labels, means, "o-", color=STAND_INS["winner"], linewidth=1.2)
        axes.set(xlabel="labels", ylabel=learning["metric_title"])
        axes.grid(color=STAND_INS["line"], linewidth=0.6)
        return svg(figure, "learning curve: score against labels")
