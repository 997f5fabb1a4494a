"""The DVC cache that workers share, with DVC itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines import dvc_cache, stages
from steps.core.entry import StepError
from tests import projects

MB = 1_000_000


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OUTPLANT_DVC_CACHE", str(tmp_path / "100% shared"))
    monkeypatch.delenv("OUTPLANT_DVC_CACHE_GB", raising=False)
    return tmp_path / "100% shared"


def cached(shared: Path, *names: str) -> list[Path]:
    """Put files of 1 MB into the cache, the first the least recently used."""
    (shared / "files").mkdir(parents=True)
    made = [shared / "files" / name for name in names]
    for number, path in enumerate(made):
        path.write_bytes(bytes(MB))
        os.utime(path, (1e9 + number, 1e9 + number))
    return made


def left(shared: Path) -> set[str]:
    return {path.name for path in (shared / "files").iterdir()}


def test_a_clone_pulls_nothing_that_another_has_pulled(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = projects.toy(tmp_path / "first")
    monkeypatch.chdir(first)
    stages.call(["remote", "add", "-q", "--default", "store", str(tmp_path / "store")], print)
    (first / "rain.txt").write_text("rain " * 1000)
    stages.run("water")
    stages.call(["push", "-q", "water"], print)
    for name in ("second", "third"):
        subprocess.run(["git", "clone", "-q", "first", name], cwd=tmp_path, check=True)
        monkeypatch.chdir(tmp_path / name)
        for known in ("dvc.lock", ".dvc/config"):
            Path(known).write_text((first / known).read_text())
        for _ in range(2):
            dvc_cache.share()
        stages.call(["pull", "-q", "water"], print)
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
    assert Path("water.txt").read_text() == "RAIN " * 1000
    assert Path("water.txt").samefile(tmp_path / "second" / "water.txt")
    assert not Path(".dvc/cache/files").exists()


def test_other_settings_of_the_clone_stay(toy: Path, shared: Path) -> None:
    dvc_cache.LOCAL.write_text("['remote \"store\"']\n    password = 100%sure\n[core]\n    a = b\n")
    dvc_cache.share()
    said = dvc_cache.LOCAL.read_text()
    assert "['remote \"store\"']\npassword = 100%sure" in said
    assert f"[cache]\ndir = {shared}" in said


def test_without_a_shared_cache_a_clone_keeps_its_own(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTPLANT_DVC_CACHE", raising=False)
    dvc_cache.share()
    dvc_cache.prune(print)
    assert not dvc_cache.LOCAL.exists()


def test_what_was_not_used_for_longest_goes_first(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, read, _, _ = cached(shared, "oldest", "read", "old", "new")
    os.utime(read, (2e9, read.stat().st_mtime))
    said: list[str] = []
    monkeypatch.setenv("OUTPLANT_DVC_CACHE_GB", "0.0025")
    dvc_cache.prune(said.append)
    assert left(shared) == {"read", "new"}
    assert said == [f"0.00 GB left {shared}: it had 0.00 of 0.0025"]
    dvc_cache.prune(said.append)
    assert len(said) == 1
    assert not oldest.exists()


def test_what_a_clone_links_to_stays(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, *_ = cached(shared, "oldest", "old", "new")
    (tmp_path / "model").hardlink_to(oldest)
    monkeypatch.setenv("OUTPLANT_DVC_CACHE_GB", "0.0011")
    dvc_cache.prune(print)
    assert left(shared) == {"oldest"}


def test_a_cache_that_nothing_is_in_yet_is_pruned_without_harm(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPLANT_DVC_CACHE_GB", "1")
    dvc_cache.prune(print)


@pytest.mark.parametrize("limit", ["much", "0", "-1", "nan"])
def test_a_limit_that_is_none_is_one_line_before_a_stage_runs(
    toy: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    cached(shared, "a", "b")
    monkeypatch.setenv("OUTPLANT_DVC_CACHE_GB", limit)
    for act in (dvc_cache.share, lambda: dvc_cache.prune(print)):
        with pytest.raises(StepError) as found:
            act()
        assert str(found.value) == (
            f"OUTPLANT_DVC_CACHE_GB is {limit!r}; expected gigabytes, such as 200"
        )
    assert left(shared) == {"a", "b"}
