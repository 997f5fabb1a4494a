"""Whether Prefect's server lets us in: asked before its client is imported, which would not say."""

import base64
import os
import urllib.error
import urllib.request

from pipelines.connection import WAIT_SECONDS, said, shown
from steps.core.entry import StepError, unsigned

URL, LOGIN, KEY = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"


def ask() -> None:
    """StepError where PREFECT_API_URL names a server that does not answer, or refuses us."""
    url = os.environ.get(URL, "")
    if not url:
        return
    request = urllib.request.Request(f"{unsigned(url).rstrip('/')}/admin/version", headers=_login())
    try:
        urllib.request.urlopen(request, timeout=WAIT_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise StepError(_refused(url, error.code)) from None
        if error.code >= 500:
            raise StepError(_silent(url, error)) from None
    except (OSError, ValueError) as error:  # the latter where it is no URL
        raise StepError(_silent(url, error)) from None


def _login() -> dict[str, str]:
    """Give the header that Prefect's client would send."""
    if login := os.environ.get(LOGIN):
        return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    key = os.environ.get(KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _refused(url: str, code: int) -> str:
    found = "another" if os.environ.get(LOGIN) else "none"
    return (
        f"Prefect at {shown(url)} asks for a login ({code}; it was given {found}); "
        f"set {LOGIN} to the server's PREFECT_SERVER_API_AUTH_STRING, USER:PASSWORD"
    )


def _silent(url: str, error: Exception) -> str:
    return (
        f"Prefect at {shown(url)} does not answer ({said(error)}); "
        f"start it, mend {URL}, or unset it to run without"
    )
