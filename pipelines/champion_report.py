"""What a check of a champion leaves: JSON, a page, its figures in MLflow, a line or a table."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines import champion_check, check_page, connection, registry
from pipelines.champion_before import Say
from steps.core.files import write_json, write_text

CHECKS = Path("checks")
COLUMNS = ("task", "champion", "metric", "now", "registered", "it is", "texts", "predictions")
Figures = dict[str, Any]


def check(
    task: str, say: Say, warn: Callable[[str], None], requests: Path | None = None
) -> Figures:
    """Check a task's champion, on the newest data or a log of requests; write and log the figures.

    StepError where there is no champion, or a stage fails; a tracker that is down costs a warning.
    """
    if requests:
        found, page = champion_check.check_requests(task, requests, say), "requests.html"
    else:
        found, page = champion_check.check(task, say), "check.html"
    return _kept(found, CHECKS / task / page, warn)


def _kept(found: Figures, page: Path, warn: Callable[[str], None]) -> Figures:
    """Write it as JSON and as a page, and log it."""
    task = found["task"]
    found["when"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(page.with_suffix(".json"), found)
    write_text(page, check_page.render(found))
    if found["lacking"]:
        warn(f"{task}: what its champion learnt from cannot be had: {found['lacking']}")
    try:
        registry.log_check(registry.version(task, found["version"]), figures(found), page)
    except connection.Down as error:
        warn(f"{error}; the check is in {page} alone")
    return found


def figures(found: Figures) -> dict[str, float]:
    """The numbers of a check that a tracker draws over time."""
    told = found["inputs"]["told_apart"]["since_registration"] if found["inputs"] else {}
    labels, sure = found["predictions"]["labels"] or {}, found["predictions"]["confidence"]
    vocabulary = found["inputs"]["vocabulary"] if found["inputs"] else {}
    named = {
        **_scores(found),
        "texts_auc": told.get("value"),
        "texts_p": found["inputs"]["p"] if found["inputs"] else None,
        "unseen_words": vocabulary.get("unseen", [None])[-1],
        "labels_variation": labels.get("value"),
        "labels_p": labels.get("p"),
        "confidence_gap": sure["value"],
        "confidence_p": sure["p"],
    }
    start = "requests_" if "requests" in found else ""
    return {start + name: float(value) for name, value in named.items() if value is not None}


def _scores(found: Figures) -> Figures:
    if "requests" in found:
        return {"rows": found["requests"]["rows"]}
    return {
        "score": found["now"]["value"],
        "score_low": found["now"]["low"],
        "score_high": found["now"]["high"],
        "items": found["items"]["now"],
        **{name: (found["difference"] or {}).get(name) for name in ("difference", "low", "high")},
    }


def line(found: Figures) -> str:
    """Say in a line what a check has found."""
    if "requests" in found:
        asked, moved = found["requests"], check_page.most_moved(found)
        return (
            f"{found['task']}: version {found['version']} ({found['recipe']}) was asked "
            f"{asked['rows']} texts since {asked['from'][:10]}; texts: {texts(found)}{moved}; "
            f"predictions: {predictions(found)}"
        )
    now, test = found["now"], found["registered"]
    return (
        f"{found['task']}: version {found['version']} ({found['recipe']}) is {found['verdict']}: "
        f"{found['metric']} {now['value']:.3f} [{now['low']:.3f}, {now['high']:.3f}] on "
        f"{found['items']['now']} items, registered with {test['metric']} {test['mean']:.3f}; "
        f"texts: {texts(found)}; predictions: {predictions(found)}"
    )


def texts(found: Figures) -> str:
    """Whether the texts have moved, and by what."""
    if found["inputs"] is None:
        return "can't tell"
    auc, p = found["inputs"]["told_apart"]["since_registration"]["value"], found["inputs"]["p"]
    if p is None:
        return "can't tell (too few)"
    return f"{_moved(found['inputs_verdict'])} (AUC {auc:.2f}, p {p:.3f})"


def predictions(found: Figures) -> str:
    """Whether the predictions have moved."""
    return _moved(found["predictions_verdict"])


def cells(found: Figures) -> tuple[str, ...]:
    """Write a check as text, one cell a column."""
    if "requests" in found:
        return (
            found["task"],
            f"version {found['version']} ({found['recipe']})",
            *("requests", str(found["requests"]["rows"]), "", "no metric"),
            *(texts(found), predictions(found)),
        )
    now, test = found["now"], found["registered"]
    return (
        found["task"],
        f"version {found['version']} ({found['recipe']})",
        found["metric"],
        f"{now['value']:.3f} [{now['low']:.3f}, {now['high']:.3f}]",
        f"{test['mean']:.3f} [{test['low']:.3f}, {test['high']:.3f}]",
        found["verdict"],
        texts(found),
        predictions(found),
    )


def show(found: Sequence[Figures], out: TextIO) -> None:
    """Print a line for one; for many a table, which in a pipe has its cells parted by tabs."""
    if len(found) == 1:
        print(line(found[0]), file=out)
    elif not out.isatty():
        for row in [COLUMNS, *map(cells, found)] if found else []:
            print(*row, sep="\t", file=out)
    else:
        table = Table(*COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in map(cells, found):
            table.add_row(*map(Text, row))
        Console(file=out).print(table)


def markdown(found: Figures) -> str:
    """Write a check as Markdown, for Prefect's artifact."""
    page = "requests.html" if "requests" in found else "check.html"
    pairs = zip(COLUMNS, cells(found), strict=True)
    rows = [f"| {name} | {value} |" for name, value in pairs]
    return "\n".join(
        [
            f"## {line(found)}",
            "",
            "| what | found |",
            "|---|---|",
            *rows,
            f"| page | `{CHECKS / found['task'] / page}` |",
        ]
    )


def _moved(verdict: str) -> str:
    return {"moved": "have moved", "not shown": "not shown to have moved"}.get(verdict, verdict)
