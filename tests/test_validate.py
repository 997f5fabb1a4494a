import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps import validate as stage
from steps.core.entry import OFFLINE, StepError
from steps.core.files import digest, read_json
from steps.core.params import Expectation, load
from steps.validate import Kind, main, validate

UNIQUE = {"check": "expect_column_values_to_be_unique", "column": "id", "critical": True}
LABELS = {
    "check": "expect_column_values_to_be_in_set",
    "column": "label",
    "value_set": ["fix", "feature"],
    "critical": True,
}
FEW = {"check": "expect_table_row_count_to_be_between", "min_value": 10, "critical": False}
SPANS = {
    "check": "expect_column_values_to_be_between",
    "column": "spans",
    "min_value": 1,
    "critical": True,
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)


def rows(*labels):
    return [
        {"id": f"{n:02}", "text": f"Note {n}", "label": label} for n, label in enumerate(labels)
    ]


def write(path, rows):
    path.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path / "examples.parquet")
    return path


def judge(folder, *suite):
    expect = [Expectation(**line) for line in suite]
    return validate(folder / "examples.parquet", "tasks.notes", expect)


def run_stage(monkeypatch, source, out, *suite):
    params = load()
    expect = [Expectation(**line) for line in suite]
    task = params.tasks["changes"].model_copy(update={"expect": expect})
    small = params.model_copy(update={"tasks": {"notes": task}})
    monkeypatch.setattr(stage.params, "load", lambda: small)
    main(Kind.task, "notes", source, out)


def test_good_data_give_the_same_bytes_each_time(tmp_path, monkeypatch):
    source = write(tmp_path / "examples", rows("fix", "feature"))
    for out in ("a", "b"):
        run_stage(monkeypatch, source, tmp_path / out, UNIQUE, LABELS)
    assert read_json(tmp_path / "a/verdict.json")["success"] is True
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_critical_failure_stops_in_one_line_and_leaves_the_data_docs(tmp_path, monkeypatch):
    source = write(tmp_path / "examples", rows("fix", "fxi", "fix"))
    with pytest.raises(StepError) as caught:
        run_stage(monkeypatch, source, tmp_path / "out", UNIQUE, LABELS)
    said = str(caught.value)
    assert "tasks.notes: expect_column_values_to_be_in_set on label failed" in said
    assert "1 unexpected of 3 values, such as 'fxi'" in said
    assert f"see {tmp_path / 'out/docs/index.html'}" in said
    assert "fxi" in (tmp_path / "out/docs/index.html").read_text()
    assert read_json(tmp_path / "out/verdict.json")["success"] is False


def test_other_failures_are_one_warning_line_each(tmp_path, monkeypatch, capfd):
    source = write(tmp_path / "examples", rows("fix", "feature"))
    run_stage(monkeypatch, source, tmp_path / "out", LABELS, FEW)
    said = [line for line in capfd.readouterr().err.splitlines() if line]
    assert len(said) == 1
    assert said[0].startswith("warning: tasks.notes: expect_table_row_count_to_be_between failed")
    verdict = read_json(tmp_path / "out/verdict.json")
    assert verdict["success"] is True
    assert [row["success"] for row in verdict["results"]] == [True, False]
    assert verdict["results"][1]["observed"] == 2


def test_a_check_on_lists_sees_their_lengths(tmp_path):
    span = {"start": 0, "end": 1, "label": "A"}
    lists = [{"id": "0", "spans": [span, span]}, {"id": "1", "spans": []}]
    verdict, _ = judge(write(tmp_path, lists), SPANS)
    assert verdict["results"][0]["unexpected"] == {"count": 1, "of": 2, "examples": ["0"]}


def test_a_check_that_could_not_be_run_is_no_failed_expectation(tmp_path, monkeypatch):
    source = write(tmp_path / "examples", rows("fix"))
    lost = LABELS | {"column": "lable", "critical": False}
    with pytest.raises(StepError, match=r'on lable could not be run: .*"lable".* does not exist'):
        run_stage(monkeypatch, source, tmp_path / "out", lost)
    docs = (tmp_path / "out/docs/index.html").read_text()
    assert "raised an exception" in docs
    assert "site-packages" not in docs


def test_a_misspelt_check_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(StepError, match="did you mean expect_column_values_to_be_unique"):
        judge(write(tmp_path, rows("fix")), UNIQUE | {"check": "expect_column_values_be_unique"})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (UNIQUE | {"colum": "id"}, r"\(colum, column\): colum extra fields not permitted"),
        (
            {"check": "expect_column_values_to_be_unique", "critical": True},
            r"\(none\): column field required",
        ),
        (LABELS | {"mostly": 7}, "mostly ensure this value is less than or equal to 1"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(tmp_path, line, said):
    with pytest.raises(StepError, match=said) as caught:
        judge(write(tmp_path, rows("fix")), line)
    assert "\n" not in str(caught.value)


def test_data_docs_load_nothing_and_run_nothing(tmp_path):
    source = write(tmp_path, rows("<script>alert(1)</script>", "x" * 5000))
    _, docs = judge(source, LABELS, FEW, UNIQUE)
    assert "<script" not in docs
    assert "&lt;script&gt;alert(1)" in docs
    assert "http:" not in docs
    assert "https:" not in docs
    assert "x" * 500 not in docs


def test_a_large_frame_is_sampled_but_its_rows_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "SAMPLE_ROWS", 10)
    monkeypatch.setattr(stage, "BATCH_ROWS", 7)
    source = write(tmp_path, rows(*["fix"] * 35))
    verdict, docs = judge(source, FEW, UNIQUE)
    assert (verdict["rows"], verdict["rows_seen"]) == (35, 9)
    assert verdict["results"][0]["observed"] == 35
    assert verdict["results"][1]["unexpected"]["of"] == 9
    assert "a sample of 9" in docs


def test_the_suites_of_params_are_well_formed():
    params = load()
    for name, part in [*params.corpora.items(), *params.tasks.items()]:
        for line, item in enumerate(part.expect):
            stage._check(line, item, name)
