"""Pictures of a run on real servers: Prefect's page of the run, and MLflow's of the registry.

    python -m tests.screens OUT

runs a small field of its own (two tasks, no network) through `outplant up`, the deployment
`train/by-hand` and `outplant promote`, and has Chromium draw OUT/prefect.png and OUT/mlflow.png.
"""

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
from tests.test_graph import field

WAIT_SECONDS = 1800
DRAW_SECONDS = 120
SIZE = (1400, 900)
COLOURS = 64  # enough for a page, and a fifth of the bytes


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
            draw(f"{prefect}/runs/flow-run/{run}", out / "prefect.png")
            draw(f"{mlflow}/#/models", out / "mlflow.png")
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


def draw(url: str, out: Path) -> None:
    """Have Chromium draw a page that builds itself, once there is more than a frame on it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    waited = 5
    while True:
        shoot(url, out, waited)
        with Image.open(out) as picture:
            few = picture.convert("RGB").quantize(COLOURS)
        if busy(few) or waited > DRAW_SECONDS:
            few.save(out, optimize=True)
            return
        waited *= 2


def busy(picture: Image.Image) -> bool:
    """Whether a page is drawn: a frame alone has one colour nearly everywhere."""
    counts: list[int] = [number for number, _ in picture.getcolors() or []]
    return max(counts) < 0.97 * SIZE[0] * SIZE[1]


def shoot(url: str, out: Path, seconds: int) -> None:
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
        command += [f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}"]
        command += [f"--virtual-time-budget={seconds * 1000}", f"--screenshot={out}", url]
        subprocess.run(command, check=True, capture_output=True, timeout=DRAW_SECONDS + seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
