"""The table of `outplant status`: a task and a recipe a row, what it reached, what it became."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from steps.core.entry import StepError
from steps.core.files import read_json
from steps.core.params import load

REPORTS, BUNDLES = Path("reports"), Path("bundles")
MISSING = "not yet compared; run `dvc repro`"
COLUMNS = ("task", "recipe", "test", "against baseline", "winner", "champion", "verdict")


@dataclass(frozen=True)
class Row:
    """A task and a recipe; numbers are of the test split, None where there is none yet.

    `difference` is against the baseline, with its interval; `champion` is a version; `note` says
    what is missing.
    """

    task: str
    recipe: str
    metric: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    difference: tuple[float, float, float] | None = None
    winner: bool = False
    champion: int | None = None
    verdict: str | None = None
    note: str | None = None


def read() -> list[Row]:
    """Read every task's comparison and champion; what is missing has a row that says so."""
    params = load()
    rows: list[Row] = []
    for name, task in params.tasks.items():
        path = REPORTS / name / "comparison.json"
        comparison = read_json(path) if path.exists() else {}
        champion = _champion(name)
        compared = [*params.recipes, *comparison["candidates"]] if comparison else []
        for recipe in dict.fromkeys([*compared, *champion]) or ["-"]:
            row = _row(name, task.metric, recipe, comparison)
            rows.append(replace(row, champion=champion.get(recipe)))
    return rows


def _champion(task: str) -> dict[str, int]:
    """Recipe and version of the champion; none where nobody can tell, which `pending` says."""
    from pipelines import connection, registry

    try:
        said = registry.status(task)
    except connection.Down:
        return {}
    return {said["champion_recipe"]: said["champion"]} if said["champion"] else {}


def pending() -> list[str]:
    """Say, a line each, which bundles are not registered yet, or why nobody can tell."""
    from pipelines import connection, registry

    said = []
    for task in load().tasks:
        try:
            if registry.pending(task, BUNDLES / task):
                said.append(f"{task}: its bundle is not registered yet; `dvc repro` will do it")
        except connection.Down as error:
            return [f"{error}; what is registered is not known"]
        except StepError as error:  # such as a lock that has moved on
            said.append(f"{task}: {error}")
    return said


def _row(task: str, metric: str, recipe: str, comparison: dict[str, Any]) -> Row:
    candidate = comparison.get("candidates", {}).get(recipe)
    if candidate is None:
        why = comparison.get("left_out", {}).get(recipe)
        return Row(task, recipe, metric, note=f"left out: {why}" if why else MISSING)
    against, test = candidate["vs_baseline"], candidate["test"]
    winner = comparison["winner"] == recipe
    return Row(
        task=task,
        recipe=recipe,
        metric=comparison["metric"],
        mean=test["mean"],
        low=test["low"],
        high=test["high"],
        difference=against and (against["difference"], against["low"], against["high"]),
        winner=winner,
        verdict=comparison["verdict"]["verdict"] if winner else None,
    )


def cells(row: Row) -> tuple[str, ...]:
    """Write a row as text, one cell a column."""
    champion = f"version {row.champion}" if row.champion is not None else ""
    if row.mean is None or row.low is None or row.high is None:
        return (row.task, row.recipe, row.note or "", "", "", champion, "")
    test = f"{row.metric} {row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]"
    against = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row.difference) if row.difference else ""
    winner = "winner" if row.winner else ""
    return (row.task, row.recipe, test, against, winner, champion, row.verdict or "")


def markdown(rows: list[Row]) -> str:
    """Write the table as Markdown, for Prefect's artifact."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(rows: list[Row], out: TextIO) -> None:
    """Print the table: drawn on a terminal; in a pipe a line a row, cells parted by tabs."""
    if not out.isatty():
        for line in [COLUMNS, *(cells(row) for row in rows)]:
            print(*line, sep="\t", file=out)
        return
    table = Table(*COLUMNS)
    for before, row in zip([None, *rows], rows, strict=False):
        if before and before.task != row.task:
            table.add_section()
        table.add_row(*cells(row), style="bold" if row.winner else None)
    Console(file=out).print(table)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Give the rows for `--json`."""
    return [asdict(row) for row in rows]
