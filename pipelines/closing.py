"""What a run of `train` leaves to read: what ran, how long, who won, and where to look."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipelines import connection, status
from pipelines.stages import Graph, Ran
from steps.core.entry import StepError, unsigned

REPORTS, DOCS = Path("reports"), Path("data/validation")


def summary(graph: Graph, done: Sequence[Ran]) -> str:
    """Say in one line what became of the stages."""
    if graph.unchanged():
        return f"nothing is stale in {len(graph.stages)} stages"
    number = {became: sum(ran.became == became for ran in done) for became in ("ran", "restored")}
    rest = len(graph.stages) - sum(number.values())
    return f"{number['ran']} ran, {number['restored']} restored, {rest} unchanged"


def report(said: str, done: Sequence[Ran]) -> str:
    """Write all of it as Markdown."""
    rows = [f"| {ran.stage} | {ran.became} | {ran.seconds / 60:.1f} |" for ran in done]
    kinds: dict[str, list[float]] = defaultdict(list)
    for ran in done:
        kinds[ran.stage.partition("@")[0]].append(ran.seconds / 60)
    sums = [f"| {kind} | {len(all_)} | {sum(all_):.1f} |" for kind, all_ in kinds.items()]
    parts = [
        f"**{said}**",
        f"## Results\n\n{_results()}",
        f"## Where to look\n\n{_links()}",
        f"## Minutes\n\n{_table('stages | number | minutes', sums)}",
        f"## Stages\n\n{_table('stage | what became of it | minutes', rows)}",
    ]
    return "\n\n".join(parts)


def _results() -> str:
    try:
        return status.markdown(status.read())
    except StepError as error:  # of params.yaml, say: what ran is told all the same
        return str(error)


def _table(head: str, rows: list[str]) -> str:
    return "\n".join([f"| {head} |", "|---|---|---|", *rows])


def _links() -> str:
    """Name the registry, the reports and the data docs; files are of the clone that made them."""
    address = connection.address()
    shown = unsigned(address).rstrip("/")
    where = f"[MLflow]({shown}/#/models)" if connection.is_server(address) else f"`{shown}`"
    pages = [*sorted(REPORTS.glob("*/report.html")), *sorted(DOCS.glob("**/docs/index.html"))]
    files = [f"- `{path.absolute()}`" for path in pages]
    return "\n".join([f"- registry: {where}", *files])
