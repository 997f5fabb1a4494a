"""The page: a tab a task, on the API's own server, where people try a champion and look into it.

Nothing is loaded from elsewhere, and nothing of the disk is served but what `page_links` names.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from pipelines import page_examples, page_guard, page_links, page_reasons, page_views
from pipelines.answering import Answerer
from steps.core.entry import StepError
from steps.core.files import read_json

ROOT = "/page"
QUIET: dict[str, Any] = {"api_visibility": "private"}  # the API is `outplant serve`'s own
CSS = Path(__file__).with_name("page.css")
MOST_CHARACTERS = 50_000  # of all fields together; more is for `outplant predict`
AT_ONCE = 4  # answers; of explanations one
WAITING = 64
ANALYTICS = "GRADIO_ANALYTICS_ENABLED"
Champion = Callable[[], Answerer]
Challenger = Callable[[], Answerer | None]
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">\
<path fill="#2e8b57" d="M1 7C1 3 3 1 7 1 7 5 5 7 1 7z"/></svg>"""
NOTHING: dict[str, Any] = {}


@dataclass(frozen=True)
class Tab:
    """Who answers for a task; asked anew each time, for a champion may be swapped meanwhile."""

    task: str
    champion: Champion
    challenger: Challenger

    def answer(self, *texts: str) -> tuple[str, dict[str, Any]]:
        """Return what is shown, and what may be asked about: the champion's answer and its bundle;
        nothing to ask where there is no answer, of which one sentence tells.
        """
        try:
            champion = self.champion()
            item = _item(champion, texts)
            shown, answer = _asked(champion, item, "champion")
        except StepError as error:
            return _sorry(error), NOTHING
        shown += self._beside(champion, item)
        known = {"item": item, "answer": answer, "bundle": champion.bundle, "type": champion.type}
        return f'<div class="answers">{shown}</div>', known

    def _beside(self, champion: Answerer, item: dict[str, str]) -> str:
        """What the challenger answers, where there is another; its fault takes no answer away."""
        try:
            other = self.challenger()
            if other is None or other.lineage == champion.lineage:
                return ""
            return _asked(other, item, "challenger")[0]
        except StepError as error:
            return _sorry(error)


def mount(
    app: FastAPI,
    answerers: Mapping[str, Champion],
    challengers: Mapping[str, Challenger],
    token: str = "",
) -> FastAPI:
    """Put the page at ROOT of the app, and send `/` there; with a token a browser asks for it, as
    the password of any user. StepError where gradio is not installed.
    """
    os.environ.setdefault(ANALYTICS, "False")  # read when gradio is imported
    try:
        import gradio
    except ModuleNotFoundError:
        raise StepError(
            "the page needs gradio, which is not installed; run `pip install -c"
            " infra/constraints.txt -e '.[serve]'`, or serve with --no-page"
        ) from None
    around = {"/": _to_page, "/manifest.json": _manifest, "/favicon.ico": _icon}
    for address, answer in around.items():
        app.router.add_route(address, answer)  # no part of the API, nor of what it demands
    page_links.add(app, answerers, ROOT)
    tabs = [Tab(t, champion, challengers.get(t, _nobody)) for t, champion in answerers.items()]
    gradio.mount_gradio_app(
        app,
        _blocks(tabs),
        ROOT,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        max_file_size=1,
        enable_monitoring=False,
        pwa=False,
        theme=_theme(),
        css=CSS.read_text(encoding="utf-8"),
    )
    app.add_middleware(page_guard.Guard, root=ROOT, token=token)
    return app


def _nobody() -> None:
    return None


def _to_page(_: Request) -> Response:
    return RedirectResponse(f"{ROOT}/")


def _manifest(_: Request) -> Response:
    return JSONResponse({"name": "Outplant", "start_url": f"{ROOT}/"})


def _icon(_: Request) -> Response:
    return Response(ICON, media_type="image/svg+xml")


def _theme() -> Any:
    """Fonts of the machine itself, and colours with enough contrast in light and dark."""
    import gradio

    fonts = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    theme = gradio.themes.Base(
        primary_hue="blue", neutral_hue="gray", font=fonts[0], font_mono=fonts[1]
    )
    return theme.set(
        color_accent="*primary_700",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        input_border_width="1px",
        input_border_color="*neutral_500",
    )


def _blocks(tabs: list[Tab]) -> Any:
    import gradio

    with gradio.Blocks(title="Outplant", analytics_enabled=False) as blocks:
        gradio.HTML("<h1>Outplant</h1><p>Try a champion, and look into what it went by.</p>")
        with gradio.Tabs():
            for tab in tabs:
                with gradio.Tab(tab.task):
                    about = gradio.HTML(elem_classes="about", padding=False)
                    blocks.load(partial(_about, tab), None, about, **QUIET)
                    _tab(tab)
    blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE, api_open=False)
    return blocks


def _tab(tab: Tab) -> None:
    """Draw what is asked and answered of one task."""
    import gradio

    first = tab.champion()
    examples = page_examples.examples(first.task, first.inputs)
    chosen = gradio.Dropdown(
        [(page_examples.short(item), n) for n, item in enumerate(examples)],
        value=None,
        label="An example of the test set",
        visible=bool(examples),
    )
    fields = [_field(first.task, name) for name in first.inputs]
    ask = gradio.Button("Answer", variant="primary", elem_id=f"ask-{tab.task}")
    answer = gradio.HTML(elem_id=f"answer-{tab.task}", elem_classes="answer")
    known = gradio.State(NOTHING)
    reasons = _reasons(tab.task, known)
    chosen.input(partial(_fill, examples, first.inputs), chosen, fields, **QUIET)
    gradio.on(
        [ask.click, *(field.submit for field in fields)],
        partial(_say, tab),
        fields,
        [answer, known, *reasons],
        show_progress_on=answer,
        **QUIET,
    )


def _reasons(task: str, known: Any) -> tuple[Any, Any, Any]:
    """Draw what may be asked about an answer: attributions, and as a second look heads."""
    import gradio

    with gradio.Column(visible=False) as column:
        about = gradio.Dropdown([], label="What to explain of the champion's answer")
        with gradio.Row():
            weigh = gradio.Button("What each word added", elem_id=f"weigh-{task}")
            look = gradio.Button("Attention heads, a second look", elem_id=f"look-{task}")
        shown = gradio.HTML(elem_id=f"reasons-{task}", elem_classes="answer")
    one: dict[str, Any] = {
        "concurrency_id": "reasons",
        "concurrency_limit": 1,
    }  # each loads a model of its own
    for button, reason in ((weigh, page_reasons.attributed), (look, page_reasons.looked)):
        button.click(_explaining(reason), [known, about], shown, **one, **QUIET)
    return column, about, shown


def _explaining(reason: page_reasons.Reason) -> Callable[..., str]:
    import gradio

    def explain(found: dict[str, Any], n: int | None, progress: Any = gradio.Progress()) -> str:  # noqa: B008
        progress(0, desc="asking the model that answered")
        try:
            return page_reasons.why(reason, found, n)
        except StepError as error:
            return _sorry(error)

    return explain


def _say(tab: Tab, *texts: str) -> tuple[Any, ...]:
    """The answer, what is known of it, and what may be asked about it."""
    import gradio

    shown, found = tab.answer(*texts)
    asked = page_reasons.questions(found["type"], found["answer"]) if found else []
    choices = [(one[0], n) for n, one in enumerate(asked)]
    about = gradio.Dropdown(choices, value=0 if choices else None)
    return shown, found, gradio.Column(visible=bool(choices)), about, ""


def _fill(examples: list[dict[str, str]], fields: tuple[str, ...], n: int | None) -> Any:
    """What an example has in each field; of one field its text alone, as gradio wants it."""
    texts = [examples[n][name] if n is not None else "" for name in fields]
    return texts if len(texts) > 1 else texts[0]


def _field(task: str, name: str) -> Any:
    import gradio

    return gradio.Textbox(
        label=name.capitalize(),
        lines=1,
        max_lines=12,
        placeholder=f"Type a {name} and press Enter",
        elem_id=f"{name}-{task}",
    )


def _item(answerer: Answerer, texts: tuple[str, ...]) -> dict[str, str]:
    """StepError where there is nothing to read, or more than a page is for."""
    item = dict(zip(answerer.inputs, (text or "" for text in texts), strict=True))
    empty = [name for name, text in item.items() if not text.strip()]
    if empty:
        raise StepError(f"There is no {empty[0]} yet; type one, or choose an example.")
    if (size := sum(map(len, item.values()))) > MOST_CHARACTERS:
        raise StepError(
            f"These are {size:,} characters, and the page takes {MOST_CHARACTERS:,} at most; "
            f"for more use `outplant predict {answerer.task}`."
        )
    if any("\ud800" <= sign <= "\udfff" for text in item.values() for sign in text):
        raise StepError("There is half of a character in this text; type or paste it again.")
    return item


def _asked(answerer: Answerer, item: dict[str, str], role: str) -> tuple[str, dict[str, Any]]:
    """Ask, and show the answer under the name of the version that gave it."""
    answer = page_examples.answered(answerer, item)
    about = read_json(answerer.bundle / "bundle.json")
    known = page_examples.numbers(answerer)
    shown = page_views.Shown(item, answer, about["labels"], known)
    inside = page_views.view(answerer.type, shown)
    head = f"{role}: {_name(answerer)}"
    return f'<section aria-label="{role}"><h3>{escape(head)}</h3>{inside}</section>', answer


def _about(tab: Tab) -> str:
    try:
        answerer = tab.champion()
    except StepError as error:
        return _sorry(error)
    kind = answerer.type.replace("_", " ")
    said = f"{answerer.task} ({kind}) is answered by {_name(answerer)}."
    return f"<p>{escape(said)} {page_links.links(answerer, ROOT)}</p>"


def _name(answerer: Answerer) -> str:
    number = "the bundle in a folder" if answerer.version is None else f"version {answerer.version}"
    return f"{number}, recipe {answerer.recipe}"


def _sorry(why: StepError | str) -> str:
    return f'<p class="sorry" role="alert">{escape(str(why))}</p>'
