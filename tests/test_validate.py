import pyarrow as pa
import pytest

from steps import validate as stage
from steps.checks.measures import Dataset
from steps.core.entry import OFFLINE, StepError
from steps.core.files import Shards, digest, read_json
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
NOISE = {"check": "expect_label_noise_to_be_between", "max_value": 0.1, "critical": True}
ENTROPY = {"check": "expect_label_entropy_to_be_between", "min_value": 0.5, "critical": True}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)


def rows(*labels):
    return [
        {"id": f"{n:02}", "source": "notes", "text": f"Note {n}", "label": label}
        for n, label in enumerate(labels)
    ]


def write(path, rows, shard_rows=2):
    schema = pa.Table.from_pylist(rows).schema
    with Shards(path / "examples", schema, shard_bytes=1) as made:
        for start in range(0, len(rows), shard_rows):
            made.write_rows(rows[start : start + shard_rows])
    return path


def judge(folder, *suite):
    expect = [Expectation(**line) for line in suite]
    return validate(Dataset(folder, "examples", "notes"), "tasks.notes", expect)


def run_stage(monkeypatch, source, out, *suite):
    params = load()
    expect = [Expectation(**line) for line in suite]
    task = params.tasks["changes"].model_copy(update={"expect": expect})
    small = params.model_copy(update={"tasks": {"notes": task}})
    monkeypatch.setattr(stage.params, "load", lambda: small)
    main(Kind.task, "notes", source, out)


def test_good_data_give_the_same_bytes_each_time(tmp_path, monkeypatch):
    source = write(tmp_path / "examples", rows("fix", "feature", "fix"))
    for out in ("a", "b"):
        run_stage(monkeypatch, source, tmp_path / out, UNIQUE, LABELS, ENTROPY, NOISE)
    assert read_json(tmp_path / "a/verdict.json")["success"] is True
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_bad_data_give_the_same_bytes_each_time(tmp_path, monkeypatch):
    twice = [*rows("fix", "bug"), *rows("feature")]
    source = write(tmp_path / "examples", twice)
    for out in ("a", "b"):
        with pytest.raises(StepError):
            run_stage(monkeypatch, source, tmp_path / out, UNIQUE, LABELS, FEW, ENTROPY, NOISE)
    assert read_json(tmp_path / "a/verdict.json")["success"] is False
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_critical_failure_stops_in_one_line_with_its_rows_and_leaves_the_data_docs(
    tmp_path, monkeypatch
):
    source = write(tmp_path / "examples", rows("fix", "fxi", "fix"))
    with pytest.raises(StepError) as caught:
        run_stage(monkeypatch, source, tmp_path / "out", UNIQUE, LABELS)
    said = str(caught.value)
    assert "\n" not in said
    assert "tasks.notes: expect_column_values_to_be_in_set on label failed" in said
    assert "1 unexpected of 3 values, such as 'fxi'; rows: 01 (notes); see" in said
    assert f"see {tmp_path / 'out/docs/index.html'}" in said
    assert "fxi" in (tmp_path / "out/docs/index.html").read_text()
    verdict = read_json(tmp_path / "out/verdict.json")
    assert verdict["success"] is False
    assert verdict["results"][1]["rows"] == [{"id": "01", "place": "notes", "text": "Note 1"}]


def test_a_critical_failure_of_ours_names_the_figure_and_the_rows(tmp_path, monkeypatch):
    source = write(tmp_path / "examples", [*rows("fix", "fix", "bug"), rows("bug")[0]])
    with pytest.raises(StepError) as caught:
        run_stage(monkeypatch, source, tmp_path / "out", NOISE, ENTROPY)
    assert str(caught.value).startswith(
        "tasks.notes: expect_label_noise_to_be_between (share of examples whose text has other "
        "labels too) failed: expected at most 0.1, observed 0.5 (2 of 4 examples); "
        "rows: 00 (notes), 00 (notes); see "
    )
    docs = (tmp_path / "out/docs/index.html").read_text()
    assert "observed 0.5 (2 of 4 examples)" in docs
    assert '<td class="text">fix: Note 0</td>' in docs
    assert read_json(tmp_path / "out/verdict.json")["results"][0]["observed"] == 0.5


def test_at_most_three_rows_are_named(tmp_path):
    verdict, _ = judge(write(tmp_path, rows(*"abcdef")), LABELS)
    assert [row["id"] for row in verdict["results"][0]["rows"]] == ["00", "01", "02"]


@pytest.mark.parametrize("column", ["id", "source", "text"])
def test_the_columns_that_name_a_row_may_be_checked_themselves(tmp_path, column):
    same = [{"id": "1", "source": "notes", "text": "Same"}] * 2
    verdict, _ = judge(write(tmp_path, same), UNIQUE | {"column": column})
    result = verdict["results"][0]
    assert result["unexpected"]["count"] == 2
    assert result["rows"] == [{"id": "1", "place": "notes", "text": "Same"}] * 2


def test_other_failures_are_one_warning_line_each(tmp_path, monkeypatch, capfd):
    source = write(tmp_path / "examples", rows("fix", "feature"))
    skewed = ENTROPY | {"min_value": 1.5, "critical": False}
    run_stage(monkeypatch, source, tmp_path / "out", LABELS, FEW, skewed)
    said = [line for line in capfd.readouterr().err.splitlines() if line]
    assert len(said) == 2
    assert said[0].startswith("warning: tasks.notes: expect_table_row_count_to_be_between failed")
    assert "failed: expected at least 10, observed 2; see" in said[0]
    assert said[1].startswith("warning: tasks.notes: expect_label_entropy_to_be_between (entropy")
    assert "expected at least 1.5, observed 1 (1.00 bits: feature 1, fix 1)" in said[1]
    verdict = read_json(tmp_path / "out/verdict.json")
    assert verdict["success"] is True
    assert [row["success"] for row in verdict["results"]] == [True, False, False]
    assert verdict["results"][1]["observed"] == 2


def test_a_check_on_lists_sees_their_lengths(tmp_path):
    span = {"start": 0, "end": 1, "label": "A"}
    lists = [{"id": "0", "spans": [span, span]}, {"id": "1", "spans": []}]
    verdict, _ = judge(write(tmp_path, lists), SPANS)
    assert verdict["results"][0]["unexpected"] == {"count": 1, "of": 2, "examples": ["0"]}
    assert verdict["results"][0]["rows"] == [{"id": "1", "place": "", "text": ""}]


def test_a_check_that_could_not_be_run_is_no_failed_expectation(tmp_path, monkeypatch):
    source = write(tmp_path / "examples", rows("fix"))
    lost = LABELS | {"column": "lable", "critical": False}
    with pytest.raises(StepError, match=r'on lable could not be run: .*"lable".* does not exist'):
        run_stage(monkeypatch, source, tmp_path / "out", lost)
    docs = (tmp_path / "out/docs/index.html").read_text()
    assert "raised an exception" in docs
    assert "site-packages" not in docs


def test_an_expectation_of_ours_that_could_not_be_run_is_no_failed_one(tmp_path, monkeypatch):
    plain = [{"id": "0", "source": "notes", "text": "No label"}]
    source = write(tmp_path / "examples", plain)
    for critical in (True, False):
        with pytest.raises(StepError) as caught:
            run_stage(monkeypatch, source, tmp_path / "out", ENTROPY | {"critical": critical})
        said = str(caught.value)
        assert "could not be run: no labels: these examples have none; see" in said
        assert said.endswith("mend params.yaml")
        assert "failed" not in said
    result = read_json(tmp_path / "out/verdict.json")["results"][0]
    assert (result["success"], result["observed"]) == (False, None)
    assert result["error"] == "no labels: these examples have none"
    assert "raised an exception" in (tmp_path / "out/docs/index.html").read_text()


@pytest.mark.parametrize(
    ("check", "near"),
    [
        ("expect_column_values_be_unique", "expect_column_values_to_be_unique"),
        ("expect_label_entrpy_to_be_between", "expect_label_entropy_to_be_between"),
    ],
)
def test_a_misspelt_check_is_answered_with_the_nearest(tmp_path, check, near):
    with pytest.raises(StepError, match=f"did you mean {near}"):
        judge(write(tmp_path, rows("fix")), UNIQUE | {"check": check})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (UNIQUE | {"colum": "id"}, r"\(colum, column\): colum extra fields not permitted"),
        (
            {"check": "expect_column_values_to_be_unique", "critical": True},
            r"\(none\): column field required",
        ),
        (LABELS | {"mostly": 7}, "mostly ensure this value is less than or equal to 1"),
        (
            NOISE | {"max_valu": 1},
            r"expect_label_noise_to_be_between: max_valu is not a key .*'max_value'",
        ),
        (NOISE | {"max_value": None}, "has no bound; add min_value, max_value or both"),
        (NOISE | {"min_value": 0.2}, r"min_value 0\.2 is over max_value 0\.1"),
        (NOISE | {"max_value": "much"}, "max_value is 'much'"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(tmp_path, line, said):
    with pytest.raises(StepError, match=said) as caught:
        judge(write(tmp_path, rows("fix")), line)
    assert "\n" not in str(caught.value)


def test_data_docs_load_nothing_and_run_nothing(tmp_path):
    bad = rows("<script>alert(1)</script>", "x" * 5000)
    bad += [one | {"label": "<b>other</b>"} for one in rows("fix")]
    _, docs = judge(write(tmp_path, bad), LABELS, FEW, UNIQUE, NOISE)
    assert "<script" not in docs
    assert "<b>other" not in docs
    assert "&lt;script&gt;alert(1)" in docs
    assert "http:" not in docs
    assert "https:" not in docs
    assert "x" * 500 not in docs


@pytest.mark.parametrize("limit", ["SAMPLE_ROWS", "SAMPLE_BYTES"])
def test_a_large_dataset_is_sampled_but_its_rows_are_counted(tmp_path, monkeypatch, limit):
    source = write(tmp_path, rows(*["fix"] * 35), shard_rows=7)
    held = {"SAMPLE_ROWS": 10, "SAMPLE_BYTES": -(-stage._unpacked(source / "examples") // 4)}
    monkeypatch.setattr(stage, limit, held[limit])
    verdict, docs = judge(source, FEW, UNIQUE)
    assert (verdict["rows"], verdict["rows_seen"]) == (35, 9)
    assert verdict["results"][0]["observed"] == 35
    assert verdict["results"][1]["unexpected"]["of"] == 9
    assert "a sample of 9" in docs


def test_a_dataset_without_rows_is_judged(tmp_path):
    columns = [("id", pa.string()), ("source", pa.string()), ("text", pa.string())]
    with Shards(tmp_path / "examples", pa.schema(columns)):
        pass
    mean = {"check": "expect_column_value_lengths_to_be_between", "column": "text", "min_value": 1}
    verdict, _ = judge(tmp_path, FEW, mean | {"critical": False})
    assert [row["success"] for row in verdict["results"]] == [False, True]


def test_a_folder_without_data_is_told_in_one_line(tmp_path):
    with pytest.raises(StepError, match="run `dvc repro`"):
        judge(tmp_path / "nowhere", FEW)


def test_the_suites_of_params_are_well_formed():
    params = load()
    for name, part in [*params.corpora.items(), *params.tasks.items()]:
        for line, item in enumerate(part.expect):
            stage._check(line, item, name)
