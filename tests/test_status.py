import io
from pathlib import Path
from typing import Any

import pytest

from pipelines import status
from steps.core.files import write_json
from steps.core.params import load

ROOT = Path(__file__).parent.parent
RECIPES = ("baseline", "full")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one task compared (but for three recipes), and one that is not."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    load.cache_clear()
    write_json(tmp_path / "reports/entities/comparison.json", comparison())
    return tmp_path


def comparison() -> dict[str, Any]:
    test = {"mean": 0.5, "low": 0.4, "high": 0.6}
    against = {"difference": 0.1, "low": -0.05, "high": 0.2}
    return {
        "metric": "span_f1",
        "winner": "full",
        "verdict": {"verdict": "inconclusive"},
        "candidates": {
            "baseline": {"test": test, "vs_baseline": None},
            "full": {"test": test, "vs_baseline": against},
        },
    }


def by_recipe(task: str) -> dict[str, status.Row]:
    return {row.recipe: row for row in status.read() if row.task == task}


def test_a_recipe_that_is_left_out_of_a_task_says_why(project: Path) -> None:
    found = comparison() | {"left_out": {"features": "the recipe is for changes"}}
    write_json(project / "reports/entities/comparison.json", found)
    assert by_recipe("entities")["features"].note == "left out: the recipe is for changes"
    assert by_recipe("entities")["full_adapted"].note == status.MISSING


def test_a_winner_has_its_metric_interval_and_verdict(project: Path) -> None:
    row = by_recipe("entities")["full"]
    assert status.cells(row) == (
        "entities",
        "full",
        "span_f1 0.500 [0.400, 0.600]",
        "+0.100 [-0.050, +0.200]",
        "winner",
        "",
        "inconclusive",
    )
    assert by_recipe("entities")["baseline"].verdict is None


def test_what_is_missing_is_said(project: Path) -> None:
    assert status.cells(by_recipe("entities")["features"])[2] == status.MISSING
    assert [status.cells(row)[:3] for row in by_recipe("changes").values()] == [
        ("changes", "-", status.MISSING)
    ]


def test_a_pipe_gets_a_line_a_row_and_a_terminal_a_table(project: Path) -> None:
    pipe, terminal = io.StringIO(), Terminal()
    status.show(status.read(), pipe)
    status.show(status.read(), terminal)
    lines = pipe.getvalue().splitlines()
    assert lines[0].split("\t") == list(status.COLUMNS)
    assert len({line.count("\t") for line in lines}) == 1
    assert "\x1b" not in pipe.getvalue()
    assert "┃" in terminal.getvalue()
    assert status.markdown(status.read()).splitlines()[1].startswith("| --- | --- |")
