"""Where the registry is and whether it answers; a tracker that is down must not fail training."""

import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from steps.core.entry import StepError

LOCAL = Path("mlflow.db")
WAIT_SECONDS = 5.0
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
# MLflow's own retries would wait for minutes; its progress bars and log lines drown ours.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
# Errors that, anywhere below an MLflow error, mean that a server did not answer.
CARRIERS = ("requests", "urllib3", "sqlalchemy", "botocore")
SILENCE = (  # what the names of such errors begin with
    *("Connect", "Endpoint", "Interface", "MaxRetry", "NewConnection", "Operational"),
    *("Protocol", "Proxy", "ReadTimeout", "Retry", "Timeout"),
)


class Down(StepError):
    """MLflow does not answer: what is pending is caught up by the next run."""


def address() -> str:
    """Return the tracking URI: a server's or a database's, else a file beside params.yaml."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{LOCAL.absolute()}"


def unused() -> bool:
    """Whether the local registry is meant and nothing was registered yet, so it has no file."""
    return not os.environ.get("MLFLOW_TRACKING_URI") and not LOCAL.exists()


def quiet() -> None:
    """Set MLflow's environment before it is imported, where the user has not."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def is_server(uri: str) -> bool:
    """Whether an MLflow server is meant, which knows itself where artifacts go."""
    return uri.startswith(("http://", "https://"))


def probe(uri: str) -> None:
    """Raise Down in seconds where nothing answers at a URI that names a host."""
    try:
        if is_server(uri):
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=WAIT_SECONDS).close()
            return
        where = urlsplit(uri)
        if where.hostname:
            port = where.port or PORTS.get(where.scheme.split("+")[0], 5432)
            socket.create_connection((where.hostname, port), WAIT_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:  # 401 or 404 is an answer
            raise down(uri, error) from None
    except OSError as error:
        raise down(uri, error) from None


def lost(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, came from the wire rather than from MLflow."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kind = type(error)
        carried = kind.__module__.split(".")[0] in CARRIERS
        failed = getattr(getattr(error, "response", None), "status_code", 0) >= 500
        if carried and (failed or kind.__name__.startswith(SILENCE)):
            return True
        error = error.__cause__ or error.__context__
    return False


def down(uri: str, error: BaseException) -> Down:
    """Say in one line that the registry cannot be reached; no password of the URI is in it."""
    where = urlsplit(uri)
    said = f"{where.scheme}://{where.hostname or where.path}"
    why = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return Down(f"MLflow at {said} does not answer ({why}); set MLFLOW_TRACKING_URI or start it")
