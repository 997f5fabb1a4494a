import pytest

from steps.core.entry import StepError
from steps.core.files import digest, read_json, whole, write_json


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"
    with whole(out) as made:
        (made / "a").write_text("1")
    with pytest.raises(FileNotFoundError), whole(out) as made:
        (made / "missing" / "b").write_text("2")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["a"]


def test_json_has_the_same_bytes_whatever_the_order_of_its_keys(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "ä": [1.5]})
    write_json(tmp_path / "b", {"ä": [1.5], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_digest_follows_names_and_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("1")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    (tmp_path / "b" / "f").rename(tmp_path / "b" / "g")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_a_file_that_is_not_there_or_no_json_is_one_line(tmp_path):
    with pytest.raises(StepError, match="run `dvc repro`"):
        read_json(tmp_path / "none")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(StepError, match="is not JSON"):
        read_json(tmp_path / "bad")
