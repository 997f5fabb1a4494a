"""The command of `outplant` that serves champions: as an API, and as a page."""

from pathlib import Path
from typing import Annotated

import typer

from steps.core.entry import StepError

Tasks = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TASK]...", help="By default all with a champion."),
]
Bundles = Annotated[
    list[Path] | None, typer.Option(help="A folder with a bundle; no registry is asked.")
]
Host = Annotated[str, typer.Option(help="Beyond this machine: OUTPLANT_SERVE_TOKEN.")]
Shadow = Annotated[
    bool, typer.Option("--shadow", help="Let challengers answer, too, for the log alone.")
]
NoPage = Annotated[bool, typer.Option("--no-page", help="The API alone.")]
LogFolder = Annotated[
    Path | None, typer.Option(help="Keep requests there, as Parquet, personal data masked.")
]
LogTexts = Annotated[bool, typer.Option("--log-texts", help="Write what was asked into the log.")]
EXTRA = "pip install -c infra/constraints.txt -e '.[serve]'"


def add(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(serve)


def serve(  # noqa: PLR0913, PLR0917 - the options of a command
    tasks: Tasks = None,
    bundle: Bundles = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    shadow: Shadow = False,
    no_page: NoPage = False,
    log: LogFolder = None,
    log_texts: LogTexts = False,
) -> None:
    """Serve champions: POST /v1/TASK/predict, /docs, /healthz, /readyz, /metrics, a page at /page/.

    When `champion` moves, the new one takes over without a failed request. Its log is JSON lines on
    stderr, without texts.
    """
    _require()
    from pipelines import serving_process
    from pipelines.serving import build
    from pipelines.serving_schemas import Limits

    token = serving_process.token(host)
    serving_process.logs()
    serving, follow = serving_process.begin(tasks or [], bundle or [], Limits())
    app = build(serving)
    if not no_page:
        from pipelines import serving_page

        app = serving_page.mount(app, serving, follow)
    with serving_process.kept(serving, log):
        serving_process.listen(app, serving, (follow, shadow), (host, port), (token, log_texts))


def _require() -> None:
    """StepError where the extra is missing."""
    import importlib.util

    for module in ("fastapi", "fastapi_offline", "prometheus_client", "uvicorn"):
        if importlib.util.find_spec(module) is None:
            raise StepError(f"serving needs {module}, which is not installed; {EXTRA}")
