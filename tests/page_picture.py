"""A picture of the page: entities of this repository's demo, a champion beside a challenger.

    python -m tests.page_picture OUT

fetches the demo's sources, trains two recipes with one seed each, a minute or two, and has Chromium
draw OUT/page.png.
"""

import io
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pipelines.answering import Answerer, opened
from steps.core.files import read_json
from steps.transfer.checkpoints import save_bundle_model
from tests import paged, projects
from tests.browser import chromium

TASK = "entities"
STAGES = (
    "fetch minilm data/raw/minilm",
    "fetch pydocs data/raw/pydocs",
    f"ingest task {TASK} data/raw/pydocs data/examples/{TASK} metrics/{TASK}.json",
    f"split {TASK} data/examples/{TASK} data/splits/{TASK}",
)
RECIPES = {"baseline": 2, "features": 3}  # the champion and the challenger, with a number for each
TEXT = "OneToOneField fields also accept an optional parent_link argument."  # of the test set
COLOURS = 96  # enough for a page, and a fifth of the bytes


def main(out: Path) -> None:
    """Make it all in a folder of its own, which is gone afterwards."""
    out = out.absolute()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(projects.clone(Path(place) / "field", {"seeds": [1]}))
        for stage in STAGES:
            step(stage)
        champion, challenger = (trained(name, number) for name, number in RECIPES.items())
        with paged.served(champion, challenger=challenger) as address:
            draw(f"{address}/page/", out / "page.png")


def trained(name: str, version: int) -> Answerer:
    """Train a recipe of params.yaml; return its bundle, loaded."""
    made, start, splits = Path(name), Path(f"starts/{name}"), f"data/splits/{TASK}"
    step(f"prepare {name} data/raw/minilm data/splits data/clean {start}")
    step(f"finetune {TASK} {name} {splits} {start} {made}/candidate {made}/metrics.json")
    save_bundle_model(start, made / "candidate", 1, made / "bundle")
    paged.about(made / "bundle", "tokens", read_json(Path(splits) / "task.json")["labels"], name)
    return replace(opened(made / "bundle", version, f"{name}{version}"), task=TASK)


def step(stage: str) -> None:
    subprocess.run([sys.executable, "-m", *f"steps.{stage}".split()], check=True)


def draw(address: str, out: Path) -> None:
    """Ask, weigh, and draw what is then on the page."""
    with chromium(1200, 900) as page:
        page.visit(address)
        page.until("document.body?.innerText.includes('is answered by version')")
        page.write(f"#text-{TASK} textarea", TEXT)
        page.press("Enter", "\r")
        page.until(f"document.querySelector('#answer-{TASK} section')")
        page.click(f"#weigh-{TASK}")
        page.until(f"document.querySelector('#reasons-{TASK} .s5')")
        page.evaluate("document.activeElement.blur()")
        shot = page.shot(whole=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
