"""The command of `outplant` that serves champions: as an API, and as a page."""

from pathlib import Path
from typing import Annotated

import typer

from steps.core.entry import StepError

EXTRA = "pip install -c infra/constraints.txt -e '.[serve]'"


def add(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(serve)


def serve(  # noqa: PLR0913, PLR0917 - the options of a command
    tasks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK]...", help="By default all with a champion."),
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option(help="A folder with a bundle; no registry is asked.")
    ] = None,
    host: Annotated[str, typer.Option(help="Beyond this machine: OUTPLANT_SERVE_TOKEN.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Let challengers answer, too, for the log alone.")
    ] = False,
    no_page: Annotated[bool, typer.Option("--no-page", help="The API alone.")] = False,
    log: Annotated[
        Path | None, typer.Option(help="Keep requests there, as Parquet, personal data masked.")
    ] = None,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Write what was asked into the log.")
    ] = False,
) -> None:
    """Serve champions: POST /v1/TASK/predict, /docs, /healthz, /readyz, /metrics, a page at /page/.

    When `champion` moves, the new one takes over without a failed request. Its log is JSON lines on
    stderr, without texts.
    """
    _require()
    from pipelines import serving_process
    from pipelines.request_log import RequestLog
    from pipelines.serving import build
    from pipelines.serving_door import Door
    from pipelines.serving_schemas import Limits
    from pipelines.serving_watch import Watch

    token = serving_process.token(host)
    serving_process.logs()
    serving, follow = serving_process.begin(tasks or [], bundle or [], Limits())
    app = build(serving)
    if not no_page:
        from pipelines import serving_page

        app = serving_page.mount(app, serving, follow)
    types = {task: model.type for task, model in serving.items()}
    kept = RequestLog(log, types) if log else None
    serving.log = kept
    watch = Watch(serving, follow, shadow)
    door = Door(app, serving, token, log_texts)
    try:
        serving_process.run(serving_process.server(door, watch, host, port))
    finally:
        if kept:
            kept.close()


def _require() -> None:
    """StepError where the extra is missing."""
    import importlib.util

    for module in ("fastapi", "prometheus_client", "uvicorn"):
        if importlib.util.find_spec(module) is None:
            raise StepError(f"serving needs {module}, which is not installed; {EXTRA}")
