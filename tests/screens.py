"""Pictures of a run on real servers: Prefect's page of the run, and MLflow's of the registry.

    python -m tests.screens OUT

runs a small field of its own (two tasks, no network) through `outplant up`, the deployment
`train/by-hand` and `outplant promote`, and has Chromium draw OUT/prefect.png and OUT/mlflow.png.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from websockets.sync.client import connect

from pipelines import stages
from pipelines.cli import SETTINGS
from tests import projects
from tests.test_graph import field

WAIT_SECONDS = 1800
DRAW_SECONDS = 120
SHAPE = {"width": 1400, "deviceScaleFactor": 1, "mobile": False}
COLOURS = 64  # enough for a page, and a fifth of the bytes
SETTLE_SECONDS = 8
CLOSE = """document.querySelectorAll('button[aria-label="Close"]').forEach(one => one.click())"""


def main(out: Path) -> None:
    """Run it all in a folder of its own, which is gone afterwards."""
    os.environ.update(SETTINGS | {"PYTHONPATH": str(projects.ROOT)})
    with tempfile.TemporaryDirectory() as place:
        folder = projects.clone(Path(place) / "field", {})
        params = field(folder / "field")
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        shutil.rmtree(folder / ".git")
        projects.commit(folder)
        out = out.absolute()
        try:
            prefect, mlflow = start(folder)
            run = finished(prefect)
            outplant(folder, "promote", "changes", "--force", "--reason", "the first", at=mlflow)
            draw(f"{prefect}/runs/flow-run/{run}", out / "prefect.png", "Finished in state")
            draw(f"{mlflow}/#/models", out / "mlflow.png", "changes", 460)
        finally:
            outplant(folder, "down")


def start(folder: Path) -> tuple[str, str]:
    """Return the addresses of Prefect and MLflow."""
    lines = outplant(folder, "up").splitlines()
    found = {line.split()[0]: line.split()[1] for line in lines if "http" in line}
    return found["prefect"], found["mlflow"]


def finished(prefect: str) -> str:
    """Start a run of train/by-hand, and return its id when it has completed."""
    deployment = ask(f"{prefect}/api/deployments/name/train/by-hand")
    run = ask(f"{prefect}/api/deployments/{deployment['id']}/create_flow_run", {})["id"]
    deadline = time.monotonic() + WAIT_SECONDS
    while (state := ask(f"{prefect}/api/flow_runs/{run}")["state"]["type"]) != "COMPLETED":
        if state in ("FAILED", "CRASHED", "CANCELLED") or time.monotonic() > deadline:
            raise SystemExit(f"the run is {state}; its page: {prefect}/runs/flow-run/{run}")
        time.sleep(1)
    return str(run)


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def outplant(folder: Path, *arguments: str, at: str = "") -> str:
    code = "from pipelines.cli import app; app()"
    around = os.environ | ({"MLFLOW_TRACKING_URI": at} if at else {})
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=around,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def draw(url: str, out: Path, seen: str, height: int = 900) -> None:
    """Have Chromium draw a page, once `seen` is on it and what a first visit is shown is away."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with chromium() as page:
        tell(page, "Emulation.setDeviceMetricsOverride", **SHAPE, height=height)
        tell(page, "Page.navigate", url=url)
        deadline = time.monotonic() + DRAW_SECONDS
        while not evaluate(page, f"document.body.innerText.includes({json.dumps(seen)})"):
            if time.monotonic() > deadline:
                raise SystemExit(f"no {seen!r} on {url}")
            time.sleep(0.5)
        for _ in range(SETTLE_SECONDS):  # a modal or a panel may come a while after the page
            evaluate(page, CLOSE)
            time.sleep(1)
        shot = base64.b64decode(tell(page, "Page.captureScreenshot")["data"])
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS).save(out, optimize=True)


@contextmanager
def chromium() -> Iterator[Any]:
    """An empty page of a browser without a window, and the line to talk to it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        command += ["--remote-allow-origins=*", "about:blank"]
        browser = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            assert browser.stderr
            heard = next(line for line in browser.stderr if "DevTools listening on" in line)
            port = re.findall(r"ws://127\.0\.0\.1:(\d+)/", heard)[0]
            tabs = ask(f"http://127.0.0.1:{port}/json")
            (page, *_) = [tab for tab in tabs if tab["type"] == "page"]
            with connect(page["webSocketDebuggerUrl"], max_size=None) as line:
                yield line
        finally:
            stages.stop(browser)


def evaluate(page: Any, code: str) -> Any:
    """Return what JavaScript makes on the page."""
    return tell(page, "Runtime.evaluate", expression=code, returnByValue=True)["result"].get(
        "value"
    )


def tell(page: Any, method: str, **parameters: Any) -> Any:
    """Send one order of the DevTools protocol; return its answer."""
    page.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    while True:
        heard = json.loads(page.recv(timeout=DRAW_SECONDS))
        if heard.get("id") == 1:
            return heard["result"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
