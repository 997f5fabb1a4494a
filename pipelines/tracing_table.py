"""What `outplant lineage`, `uses` and `reproduce` print for a person."""

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.tracing import Uses

SHORT = 12  # characters of a hash


def show_lineage(found: dict[str, Any], out: TextIO) -> None:
    """Print a version's origin: what it is in lines, then its data, stages and params in tables."""
    for line in lines(found):
        print(line, file=out)
    _table(("data", "version", "learnt from", "pins"), _data(found), out)
    _table(("stage", "hash"), [(n, key[:SHORT]) for n, key in found["stages"].items()], out)
    _table(("param", "value"), [(n, str(v)) for n, v in sorted(found["params"].items())], out)


def show_compared(found: dict[str, str], out: TextIO) -> None:
    """Print for each file of a bundle what became of it."""
    for name, became in found.items():
        print(f"{became:<8}{name}", file=out)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Say what a version is, and who made it champion."""
    champion = {"now": ", champion", "before": ", a former champion"}.get(found["champion"], "")
    yield (
        f"{found['task']}, version {found['version']}: {found['recipe']}, seed {found['seed']}"
        + (champion)
    )
    yield f"lineage     {found['lineage']}"
    dirty = ", ".join(found["dirty"])
    yield f"commit      {found['commit'] or 'unknown'}" + (
        f"; uncommitted: {dirty}" if dirty else ""
    )
    yield f"test        {found['metric']} {found['score']:.3f}; {_against(found)}"
    failed = [row.get("check", str(row)) for row in found["validation"]["failed"]]
    passed = "passed" if found["validation"]["success"] else "failed"
    yield f"validation  {passed}" + (f"; not met: {', '.join(failed)}" if failed else "")
    for event in found["moves"]:
        forced = ", forced" if event.get("forced") else ""
        why = f": {event['reason']}" if event.get("reason") else ""
        said = f"{event['when']} by {event['who']}, {event.get('verdict', '')}{forced}{why}"
        yield f"{event['action']:<10}  {said}"
    if not found["moves"]:
        yield "promoted    never"


def show_uses(found: Uses, out: TextIO) -> None:
    """Print which versions saw a thing, or that none did."""
    if found.versions:
        rows = [
            (
                f"{use.task}@{use.version}",
                use.recipe,
                use.how,
                {"now": "champion", "before": "was champion"}.get(use.champion, ""),
                use.commit[:SHORT],
                "; ".join(use.found),
            )
            for use in found.versions
        ]
        _table(("version", "recipe", "how", "champion", "commit", "what"), rows, out)
    else:
        print(f"no version saw {found.what}{'' if found.known else UNKNOWN}", file=out)
    if found.untraced:
        print(f"not known of: {', '.join(found.untraced)}", file=out)


UNKNOWN = ", which is no corpus or source of params.yaml, no file here and no hash of 8 or more"


def _against(found: dict[str, Any]) -> str:
    verdict = found["verdict"]
    if found["recipe"] == found["baseline"]:
        return "it is the baseline"
    low, high = verdict["low"], verdict["high"]
    said = f"{verdict['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"against the baseline {said}, {verdict['verdict']}"


def _data(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, about in found["corpora"].items():
        version = about["documents"].removesuffix(".dir")[:SHORT]
        yield f"corpus {name}", version, _yes(about), f"from source {about['source']}"
    for name, about in found["sources"].items():
        version = about["raw"].removesuffix(".dir")[:SHORT]
        pins = (line.partition(" --hash")[0] for line in about["pins"])  # hashes: --json
        yield f"source {name}", version, _yes(about), "\n".join(pins)


def _yes(about: dict[str, Any]) -> str:
    return "yes" if about["learnt"] else "no, only read"


def _table(columns: Sequence[str], rows: Iterator[Any] | Sequence[Any], out: TextIO) -> None:
    """Draw on a terminal; in a pipe a line a row, cells parted by tabs."""
    print(file=out)
    if not out.isatty():
        for row in [columns, *rows]:
            print(*(cell.replace("\n", ", ") for cell in row), sep="\t", file=out)
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=out).print(table)
