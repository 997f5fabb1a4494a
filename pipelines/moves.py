"""The table of `outplant history`: a move of the champion a row, oldest first."""

from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLUMNS = ("when (UTC)", "move", "from", "to", "verdict", "who", "why")


def cells(entry: dict[str, Any]) -> tuple[str, ...]:
    """Write an entry of the record as text, one cell a column, each on one line."""
    old, new = (str(end["version"]) if end else "-" for end in (entry["from"], entry["to"]))
    verdict = "-" if entry["action"] == "rollback" else entry["verdict"]  # nothing was judged
    move = entry["action"] + (", forced" if entry.get("forced") else "")
    why = " ".join(entry.get("reason", "").split())
    when = entry["when"].removesuffix("+00:00").replace("T", " ")
    return (when, move, old, new, verdict, entry["who"], why)


def show(entries: list[dict[str, Any]], out: TextIO) -> None:
    """Print the table: drawn on a terminal; in a pipe a line a move, cells parted by tabs."""
    if not out.isatty():
        for line in [COLUMNS, *map(cells, entries)]:
            print(*line, sep="\t", file=out)
        return
    table = Table(*COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in map(cells, entries):
        table.add_row(*map(Text, row))  # a reason may hold what would be markup
    table.columns[0].no_wrap = True
    Console(file=out).print(table)
