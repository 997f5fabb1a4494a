"""Small projects to run: a copy of this one with other params, and a toy of five stages.

    python -m tests.projects OUT OVERRIDES.yaml

copies this repository (tracked and new files) to OUT and lays the overrides over its params.yaml.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
STEP = '''"""Copy the words of some files into another, in capitals."""
import sys
from pathlib import Path

out, *sources = sys.argv[1:]
text = " ".join(Path(source).read_text() for source in sources)
if "weeds" in text:
    sys.exit("error: there are weeds in " + sources[0] + "; pull them out")
print("writing", out)
with open("ran.txt", "a") as log:
    log.write(out + "\\n")
Path(out).write_text(text.upper())
'''
GRAPH = """
stages:
  water:
    cmd: python step.py water.txt rain.txt
    deps: [step.py, rain.txt]
    outs: [water.txt]
  soil:
    cmd: python step.py soil.txt earth.txt
    deps: [step.py, earth.txt]
    outs: [soil.txt]
    meta: {pool: gpu}
  plant:
    foreach: [rose, leek]
    do:
      cmd: python step.py ${item}.txt water.txt soil.txt
      deps: [step.py, water.txt, soil.txt]
      outs: ["${item}.txt"]
  sell:
    cmd: python step.py sold rose.txt leek.txt
    deps: [rose.txt, leek.txt]
    always_changed: true
"""


def clone(out: Path, overrides: dict[str, Any]) -> Path:
    """Copy the repository's files, and commit them there, with other params."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, out / name)
    params = out / "params.yaml"
    merged = overlay(yaml.safe_load(params.read_text()), overrides)
    params.write_text(yaml.safe_dump(merged, sort_keys=False))
    return commit(out)


def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, key by key; what is no mapping is replaced whole."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = overlay(old, value) if both else value
    return merged


def toy(out: Path) -> Path:
    """Write the toy project."""
    out.mkdir(parents=True)
    texts = {"rain.txt": "rain", "earth.txt": "earth", "step.py": STEP, "dvc.yaml": GRAPH}
    for name, text in texts.items():
        (out / name).write_text(text)
    (out / "infra").mkdir()
    shutil.copy(ROOT / "infra/fleet.yaml", out / "infra")
    (out / ".dvc").mkdir()
    (out / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (out / ".gitignore").write_text("/*.txt\n/.outplant\n/.dvc/tmp\n/.dvc/cache\n/.dvc/*.local\n")
    return commit(out)


def commit(folder: Path) -> Path:
    """Make a folder a git repository with all in it committed, or commit what is new there."""
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        [*who, "commit", "-q", "--allow-empty", "-m", "as it is"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


if __name__ == "__main__":
    clone(Path(sys.argv[1]), yaml.safe_load(Path(sys.argv[2]).read_text()))
