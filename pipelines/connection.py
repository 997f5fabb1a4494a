"""Where the registry is and whether it answers; a tracker that is down must not fail training."""

import hashlib
import os
import re
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from urllib.parse import urlsplit

from steps.core.entry import StepError, TryAgain, unsigned

TRACKING, RECORD = "MLFLOW_TRACKING_URI", "OUTPLANT_RECORD"
TRACKING_AS = "MLFLOW_TRACKING"  # _USERNAME, _PASSWORD: MLflow reads them itself
NAME = re.compile(r"[^\w.]+")
LOCAL = Path("mlflow.db")
_ELSEWHERE: ContextVar[bool] = ContextVar("elsewhere", default=False)
WAIT_SECONDS = 5.0
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
# MLflow's own retries would wait for minutes; its progress bars and log lines drown ours.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # twice: no request holds a run for a minute
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


# A database that answers has something to say to these: PostgreSQL to the question for SSL.
ASKED = {"postgresql": struct.pack("!ii", 8, 80877103), "mysql": b""}
# Of a disk, a quota or a file; MLflow puts some into its words and loses the error itself.
FULL = re.compile(rf"\[Errno (?:{ENOSPC}|{EDQUOT}|{EFBIG})\]|disk is full")
REFUSED = re.compile(r"failed with error code 5\d\d")  # 507, say: MLflow does not ask again
DENIED = re.compile(r"failed with error code (401|403)\b")


class Down(TryAgain):
    """MLflow does not answer or takes no more: what is pending is caught up by the next run."""


def address() -> str:
    """Return the tracking URI: a server's or a database's, else a file beside params.yaml."""
    return os.environ.get(TRACKING) or f"sqlite:///{LOCAL.absolute()}"


@contextmanager
def at(uri: str, record: str) -> Iterator[None]:
    """Mean another registry meanwhile; `record`: the database of its record, where it has one."""
    before = {name: os.environ.get(name) for name in (TRACKING, RECORD)}
    if "://" not in uri:
        raise StepError(
            f"--registry is {uri!r}; expected an MLflow's address, such as http://HOST:5000, "
            "postgresql://HOST/NAME or sqlite:////FOLDER/mlflow.db"
        )
    if uri.rstrip("/") == address().rstrip("/"):
        raise StepError(f"{shown(uri)} is the registry that is used here; name another")
    os.environ.update({TRACKING: uri, RECORD: record})
    token = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


def elsewhere() -> bool:
    """Whether another registry is meant than the one that is used here."""
    return _ELSEWHERE.get()


def called(uri: str) -> str:
    """Return a name for a registry that a folder can have."""
    return f"{NAME.sub('-', shown(uri))}-{hashlib.sha256(uri.rstrip('/').encode()).hexdigest()[:8]}"


def shown(uri: str) -> str:
    """Return a URI without what is secret in it."""
    where = urlsplit(uri)
    return f"{where.scheme}://{where.hostname or where.path}"


def unused() -> bool:
    """Whether the local registry is meant and nothing was registered yet, so it has no file."""
    return not os.environ.get(TRACKING) and not LOCAL.exists()


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
        if is_server(uri):  # urllib takes a password in an address for a part of the host's name
            healthy = f"{unsigned(uri).rstrip('/')}/health"
            urllib.request.urlopen(healthy, timeout=WAIT_SECONDS).close()
            return
        where = urlsplit(uri)
        if where.hostname:
            _ask(where.scheme.split("+")[0], where.hostname, where.port)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500:  # 401 or 404 is an answer
            raise down(uri, error) from None
    except OSError as error:
        raise down(uri, error) from None


def _ask(scheme: str, host: str, port: int | None) -> None:
    """OSError where a database does not speak: MLflow would ask it again for most of an hour."""
    line = socket.create_connection((host, port or PORTS.get(scheme, 5432)), WAIT_SECONDS)
    with line:
        if scheme in ASKED:
            line.sendall(ASKED[scheme])
            if not line.recv(1):
                raise ConnectionError(f"port {port} hangs up; it is no {scheme}")


def lost(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, came from the wire or a full disk, not from MLflow."""
    return any(_silent(one) or _full(one) for one in _causes(error))


def denied(error: BaseException | None) -> int:
    """Return 401 or 403 where MLflow asks who comes, or does not let them; else 0."""
    for one in _causes(error):
        found = DENIED.search(str(one)) if type(one).__module__.startswith("mlflow") else None
        code = int(found[1]) if found else getattr(getattr(one, "response", None), "status_code", 0)
        if code in (401, 403):
            return code
    return 0


def stranger(uri: str, code: int) -> StepError:
    """Say in one line that MLflow knows no such user, or does not let them do this."""
    who = os.environ.get(f"{TRACKING_AS}_USERNAME") or urlsplit(uri).username
    name = f"user {who!r}" if who else "no user"
    does = "asks for a login" if code == 401 else "does not allow this"
    return StepError(
        f"MLflow at {shown(uri)} {does} ({code}; it was given {name}); set {TRACKING_AS}_USERNAME "
        f"and {TRACKING_AS}_PASSWORD to those of a user who may, or ask its admin"
    )


def said(error: BaseException) -> str:
    """Return the first line of an error, in which no address has a password."""
    return unsigned((str(error).splitlines() or [type(error).__name__])[0])[:200]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _silent(error: BaseException) -> bool:
    kind = type(error)
    carried = kind.__module__.split(".")[0] in CARRIERS
    failed = getattr(getattr(error, "response", None), "status_code", 0) >= 500
    refused = kind.__module__.startswith("mlflow") and REFUSED.search(str(error))
    return bool(refused or (carried and (failed or kind.__name__.startswith(SILENCE))))


def _full(error: BaseException) -> bool:
    return FULL.search(str(error)) is not None


def down(uri: str, error: BaseException) -> Down:
    """Say in one line that the registry cannot be reached; no password of the URI is in it."""
    why = said(error)
    return Down(
        f"MLflow at {shown(uri)} does not answer ({why}); set MLFLOW_TRACKING_URI or start it"
    )
