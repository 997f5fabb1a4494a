"""The log of requests: kept behind, without personal data, and held against the training texts."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines import champion_check, connection, request_log
from pipelines.cli import app
from pipelines.request_log import RequestLog, read
from steps.core.entry import StepError
from steps.core.files import read_rows
from tests.pages import assert_whole
from tests.test_champion_check import TASK, TEST, foreign, origin, project  # noqa: F401

KINDS = {TASK: "classification"}
ANSWER = {"label": "fix", "confidence": 0.5, "note": ["mail jane.doe@example.org"]}


def logged(folder: Path, rows: list[dict[str, Any]], version: int | None = 1) -> RequestLog:
    log = RequestLog(folder, KINDS)
    for row in rows:
        log(TASK, version, [row], [ANSWER], 0.01)
    log.close()
    return log


def test_a_request_is_kept_without_personal_data(tmp_path: Path) -> None:
    text = "Write to jane.doe@example.org or call +1 202 555 0143."
    log = logged(tmp_path, [{"text": text, "id": "never kept"}])
    (file,) = tmp_path.glob(f"{TASK}/*/*.parquet")
    (row,) = read_rows(file)
    assert set(row) == {"when", "version", "seconds", "text", "answer"}
    assert "jane.doe" not in str(row)
    assert "555" not in str(row)
    assert json.loads(row["answer"])["label"] == "fix"
    assert log.lost == 0


def test_what_comes_too_fast_is_counted_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "MOST_WAITING", 3)
    log = logged(tmp_path, [{"text": str(n)} for n in range(10)])
    assert (log.lost, len(read(tmp_path, TASK, 1, 100))) == (7, 3)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StepError, match="no log can be kept in"):
        RequestLog(tmp_path / "file" / "log", KINDS)


def test_the_newest_rows_of_the_version_are_read(tmp_path: Path) -> None:
    logged(tmp_path, [{"text": "old"}])
    logged(tmp_path, [{"text": "other"}], version=2)
    logged(tmp_path, [{"text": "new"}])
    assert {row["text"] for row in read(tmp_path, TASK, 1, 100)} == {"old", "new"}
    with pytest.raises(StepError, match=r"no requests that version 3 of .* answered"):
        read(tmp_path, TASK, 3, 100)


def test_requests_of_another_field_have_moved_and_leave_a_page_and_figures(
    project: Path,  # noqa: F811
) -> None:
    rows = foreign(read_rows(TEST))
    logged(project / "asked", rows)
    done = CliRunner().invoke(app, ["champion-check", TASK, "--requests", "asked", "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert (found["inputs_verdict"], found["predictions_verdict"]) == ("moved", "moved")
    assert found["requests"]["rows"] == len(rows)
    page = Path("checks") / TASK / "requests.html"
    assert_whole(page.read_text())
    assert "The texts have moved" in page.read_text()
    logged(project / "same", read_rows(TEST))
    done = CliRunner().invoke(app, ["champion-check", TASK, "--requests", "same"])
    assert f"{TASK}: version 1 (good) was asked " in done.stdout
    assert "texts: not shown to have moved" in done.stdout
    import mlflow

    client = mlflow.MlflowClient(connection.address())
    (run,) = client.search_runs([client.get_experiment_by_name("checks").experiment_id])
    assert "requests_texts_auc" in run.data.metrics


def test_a_log_that_is_not_there_is_one_line(project: Path) -> None:  # noqa: F811
    done = CliRunner().invoke(app, ["champion-check", TASK, "--requests", "nowhere"])
    assert done.exit_code == 1
    assert "nowhere has no requests that version 1" in done.stderr
    assert champion_check.champions() == [TASK]
