"""Stage `register`: a bundle -> MLflow, once per lineage key; the only stage that has no outs.

    python -m steps.register TASK BUNDLE REPORT

It runs at every `dvc repro`: what is registered is found and left alone, what is missing is added.
A registry that does not answer fails no training: a line says what is pending.
"""

import sys
from pathlib import Path

from pipelines import connection, registry
from steps.core.entry import run
from steps.core.params import choose, load


def main(task: str, bundle: Path, report: Path) -> None:
    choose(task, load().tasks, "task")
    try:
        found = registry.register(task, bundle, report)
    except connection.Down as error:
        pending = f"{task} is not registered yet; the next `dvc repro` will do it"
        print(f"warning: {error}; {pending}", file=sys.stderr)
        return
    what = "registered" if found["added"] else "there already"
    print(f"{task}: version {found['number']} ({found['recipe']}) {what}, {found['runs']} new runs")
    if found["note"]:
        print(f"warning: {found['note']}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
