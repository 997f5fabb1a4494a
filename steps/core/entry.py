"""How a stage starts, and fails: one line for what the user can mend, a traceback for our bugs."""

import os
import re
import sys
from collections.abc import Callable

import typer

OFFLINE = {
    "DO_NOT_TRACK": "1",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",  # ours says what is done in the user's words
    "GX_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
}


AGAIN = 75  # EX_TEMPFAIL of sysexits.h
SIGNED = re.compile(r"(?<=://)(?!USER:PASSWORD@)[^/\s]+@")  # a password may have an @


def unsigned(text: str) -> str:
    """Return a text in which no address has a user and a password any more."""
    return SIGNED.sub("", text)


class StepError(Exception):
    """What the user can mend: expected, found, what to do, in one line; no password is in it."""

    def __init__(self, text: str) -> None:
        super().__init__(unsigned(text))


class TryAgain(StepError):
    """What may go well later without anyone's doing: a network, a server, a machine taken away."""


def run(main: Callable[..., None]) -> None:
    """Make `main` the command of its module: its typed arguments are the command line."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except StepError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(AGAIN if isinstance(error, TryAgain) else 1) from None
