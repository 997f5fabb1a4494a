"""What the page links to: a task's report, and its bundle's card and lineage; read, never written.

The paths are made of nothing that a visitor sends: a task that is not served is not found, and of
a bundle two files alone are read.
"""

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from pipelines.answering import Answerer
from steps.core.entry import StepError
from steps.core.files import read_json

REPORTS = Path("reports")
STYLE = Path(__file__).with_name("page_links.css")
SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
Answerers = Mapping[str, Callable[[], Answerer]]


def add(app: FastAPI, answerers: Answerers, root: str) -> None:
    """Add an address for each of KINDS to the app, below `root`."""

    def read(request: Request) -> HTMLResponse:
        task, kind = request.path_params["task"], request.path_params["kind"]
        if task not in answerers or kind not in KINDS:
            return _page("Not found", "<p>There is no such page.</p>", 404)
        try:
            return KINDS[kind](answerers[task]())
        except StepError as error:
            return _page("Not found", f"<p>{escape(str(error))}</p>", 404)

    app.router.add_route(f"{root}/about/{{task}}/{{kind}}", read)


def links(answerer: Answerer, root: str) -> str:
    """The links of a task, of those things that are there."""
    there = {
        "report": (REPORTS / answerer.task / "report.html").is_file(),
        "card": (answerer.bundle / "README.md").is_file(),
        "lineage": (answerer.bundle / "lineage.json").is_file(),
    }
    own = "" if reported(answerer) else " of the newest comparison, not of this version"
    return " · ".join(
        f'<a href="{root}/about/{answerer.task}/{kind}" target="_blank" rel="noopener">'
        f"{kind}{own if kind == 'report' else ''}</a>"
        for kind, here in there.items()
        if here
    )


def reported(answerer: Answerer) -> bool:
    """Whether the report that is here is about the bundle that answers."""
    file = REPORTS / answerer.task / "comparison.json"
    if not file.is_file():
        return False
    said, about = read_json(file), read_json(answerer.bundle / "bundle.json")
    named = said["winner"], said["seed"], said["candidates"][said["winner"]]["test"]
    return bool(named == (about["recipe"], about["seed"], about["test"]))


def _report(answerer: Answerer) -> HTMLResponse:
    file = REPORTS / answerer.task / "report.html"
    if not file.is_file():
        raise StepError(
            f"no report of {answerer.task} here; run `dvc repro report@{answerer.task}`"
        )
    return HTMLResponse(file.read_text(encoding="utf-8"), headers=SAFE)


def _card(answerer: Answerer) -> HTMLResponse:
    """The card as a page; HTML in it is shown, not run."""
    from markdown_it import MarkdownIt

    text = _text(answerer, "README.md")
    if text.startswith("---\n"):
        text = text.split("\n---", 1)[-1]  # what the hub reads
    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _page(f"{answerer.task}: card", made)


def _lineage(answerer: Answerer) -> HTMLResponse:
    _text(answerer, "lineage.json")
    known = read_json(answerer.bundle / "lineage.json")
    lines = [("lineage key", answerer.lineage), *_flat(known)]
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td><code>{escape(str(value))}</code></td></tr>"
        for name, value in lines
    )
    title = f"{answerer.task}: lineage"
    more = (
        "<p>What made this bundle, by content: the same inputs make the same bundle."
        f" <code>outplant lineage {escape(answerer.task)}</code> tells more.</p>"
    )
    return _page(title, f"<h1>{escape(title)}</h1>{more}<table>{rows}</table>")


def _flat(known: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in known.items():
        inside = isinstance(value, Mapping)
        found += _flat(value, f"{before}{name} ") if inside else [(f"{before}{name}", value)]
    return found


def _text(answerer: Answerer, name: str) -> str:
    file = answerer.bundle / name
    if not file.is_file():
        raise StepError(f"the bundle of {answerer.task} has no {name}; make it again: `dvc repro`")
    return file.read_text(encoding="utf-8")


def _page(title: str, inside: str, status: int = 200) -> HTMLResponse:
    style = STYLE.read_text(encoding="utf-8")
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body><main>{inside}</main></body></html>",
        status,
        SAFE,
    )


KINDS: dict[str, Callable[[Answerer], HTMLResponse]] = {
    "report": _report,
    "card": _card,
    "lineage": _lineage,
}
