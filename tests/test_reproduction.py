"""A version is made again at its commit, and compared file by file."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines import lineage, registry, reproduction
from pipelines.versions import Version
from steps.core.entry import StepError
from tests import projects

STEP = """import os, sys
from pathlib import Path
out, *sources = sys.argv[1:]
if os.environ.get("CHANCE") == "fails":
    sys.exit("error: it is bad luck")
Path(out).mkdir(parents=True)
text = "".join(file.read_text() for source in sources for file in sorted(Path(source).iterdir()))
Path(out, "weights").write_text(text.upper())
Path(out, "when").write_text(os.environ.get("CHANCE", "none"))
Path("ran").open("a").write(out + "\\n")
"""
MADE = {
    "fetch@law": ("data/raw/law", "field"),
    "split@t": ("data/splits/t", "data/raw/law"),
    "finetune@t-r": ("candidates/t/r", "data/splits/t"),
    "bundle@t": ("bundles/t", "candidates/t/r"),
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A project whose bundle is made by four stages, all committed but dvc.lock."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stages = {}
        for name, (out, dep) in MADE.items():
            head, key = name.split("@")
            made = {"cmd": f"python step.py {out} {dep}", "deps": [dep], "outs": [out]}
            stages[head] = {"foreach": [key], "do": made}
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        Path("params.yaml").write_text("{}")
        Path("step.py").write_text(STEP)
        Path("field").mkdir()
        Path("field/text").write_text("a law")
        Path(".dvc").mkdir()
        Path(".dvc/config").write_text("[core]\n    analytics = false\n")
        ignored = "/data\n/candidates\n/bundles\n/ran\n/.outplant\n/.dvc/tmp\n/.dvc/cache\n"
        Path(".gitignore").write_text(ignored + "/.dvc/config.local\n")
        projects.commit(folder)
        reproduction.stages.call(["repro"], print)
        yield folder


@pytest.fixture
def version(origin, monkeypatch, tmp_path):
    """The version that was registered; what MLflow would give is given from files."""
    monkeypatch.chdir(origin)
    Path("ran").write_text("")
    upstream = lineage.upstream(lineage.read_lock(), Path("bundles/t"))
    (tmp_path / "stages.json").write_text(json.dumps({"stages": upstream}))
    monkeypatch.setattr(registry, "trace", lambda found: tmp_path)
    monkeypatch.setattr(registry, "files", lambda found: (Path("bundles/t"), tmp_path))
    return Version("t", 2, lineage.key(upstream), "r", "f1", 0.5, 1, lineage.commit().hash, ())


def test_a_version_that_is_made_again_is_the_same_and_leaves_nothing_behind(version):
    said: list[str] = []
    assert reproduction.reproduce(version, False, said.append) == {
        "weights": "same",
        "when": "same",
    }
    assert any(line.startswith("running 2 of 4 stages") for line in said)
    assert "Running stage 'finetune@t-r':" in said
    assert "Running stage 'split@t':" not in said
    assert not list(reproduction.FOLDER.iterdir())
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
    assert Path("ran").read_text() == ""  # nothing ran here


def test_what_comes_out_another_way_is_told_and_spoils_no_cache(version, monkeypatch):
    monkeypatch.setenv("CHANCE", "another")
    found = reproduction.reproduce(version, False, lambda line: None)
    assert set(found.values()) == {"differs"}
    monkeypatch.delenv("CHANCE")
    before = lineage.dvc_hash(Path("bundles/t"))
    reproduction.stages.call(["repro", "--force", "--single-item", "bundle@t"], print)
    assert lineage.dvc_hash(Path("bundles/t")) == before


def test_everything_runs_all_but_what_fetches(version):
    said: list[str] = []
    assert set(reproduction.reproduce(version, True, said.append).values()) == {"same"}
    ran = [line.split("'")[1] for line in said if line.startswith("Running stage")]
    assert ran == ["split@t", "finetune@t-r", "bundle@t"]


def test_a_stage_that_fails_is_one_line_and_the_worktree_goes(version, monkeypatch):
    monkeypatch.setenv("CHANCE", "fails")
    with pytest.raises(StepError, match="it is bad luck"):
        reproduction.reproduce(version, False, lambda line: None)
    assert not list(reproduction.FOLDER.iterdir())


@pytest.mark.parametrize(
    ("commit", "dirty", "why"),
    [
        ("a" * 40, ("params.yaml", "steps/split.py"), r"not committed: params\.yaml, steps/split"),
        ("", (), "was made outside git"),
        ("a" * 40, (), "fetch the commit"),
    ],
)
def test_what_no_commit_has_is_refused_in_one_line(version, commit, dirty, why):
    gone = Version("t", 2, version.lineage, "r", "f1", 0.5, 1, commit, dirty)
    with pytest.raises(StepError, match=why) as said:
        reproduction.reproduce(gone, False, lambda line: None)
    assert "\n" not in str(said.value)


def test_files_are_compared_by_name_and_content(tmp_path):
    sides = {"old": {"a": "1", "b": "1", "c/d": "1"}, "new": {"a": "1", "b": "2", "e": "1"}}
    for side, files in sides.items():
        for name, content in files.items():
            (tmp_path / side / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / side / name).write_text(content)
    assert reproduction.compared(tmp_path / "old", tmp_path / "new") == {
        "a": "same",
        "b": "differs",
        "c/d": "missing",
        "e": "new",
    }


def test_packages_of_another_version_are_named(tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy==0.1\nnone-such==1\nmlflow\n")
    said = list(reproduction.other_packages(tmp_path / "requirements.txt"))
    assert [line.split(",")[0] for line in said] == [
        "made with numpy 0.1",
        "made with none-such 1",
    ]
