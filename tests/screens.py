"""Pictures of a run on real servers: Prefect's page of the run, and MLflow's of the registry.

    python -m tests.screens OUT

runs a small field of its own (two tasks, no network) through `outplant up`, the deployment
`train/by-hand` and `outplant promote`, and has Chromium draw OUT/prefect.png and OUT/mlflow.png.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from pipelines.cli import SETTINGS
from tests import projects
from tests.browser import chromium
from tests.test_graph import field

WAIT_SECONDS = 1800
DRAW_SECONDS = 120
WIDTH = 1400
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
    with chromium(WIDTH, height) as page:
        page.visit(url)
        page.until(f"document.body?.innerText.includes({json.dumps(seen)})", DRAW_SECONDS)
        for _ in range(SETTLE_SECONDS):  # a modal or a panel may come a while after the page
            page.evaluate(CLOSE)
            time.sleep(1)
        shot = page.shot()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
