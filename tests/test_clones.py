"""The clone that a flow works in, with real repositories: nothing of anyone's is lost in one."""

import multiprocessing
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import clones
from steps.core.entry import StepError, TryAgain


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    """Write files and commit them; give the commit."""
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "more")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A bare repository, where all meet; `main` has files `code` and `dvc.lock`."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(tmp_path, "clone", "-q", "origin.git", "first")
    commit(tmp_path / "first", **{"code": "1", "dvc.lock": "a: 1\n"})
    git(tmp_path / "first", "push", "-q", "origin", "HEAD:main")
    return tmp_path / "origin.git"


@pytest.fixture
def here(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone, in which the test stands."""
    git(tmp_path, "clone", "-q", str(origin), "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OUTPLANT_HOME", str(tmp_path / "work" / "home"))
    monkeypatch.delenv("OUTPLANT_REPOSITORY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "work" / "home"


def test_without_a_home_a_flow_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OUTPLANT_HOME", raising=False)
    clones.enter()
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a clone that was cut short"])
def test_an_empty_home_becomes_a_clone(
    origin: Path, home: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.setenv("OUTPLANT_REPOSITORY", str(origin))
    if there == "an empty folder":
        home.mkdir(parents=True)
    elif there == "a clone that was cut short":
        (home.parent / "home.part" / ".git").mkdir(parents=True)
    for _ in range(2):
        clones.enter()
        assert Path.cwd() == home
        assert Path("code").read_text() == "1"


def test_a_home_that_is_no_clone_needs_a_repository(home: Path) -> None:
    with pytest.raises(StepError, match=r"^OUTPLANT_HOME is .*home, which is no clone .* set OUTP"):
        clones.enter()


def test_a_home_with_other_files_is_left_as_it_is(
    origin: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPLANT_REPOSITORY", str(origin))
    home.mkdir(parents=True)
    (home / "code").write_text("mine")
    with pytest.raises(StepError, match="has files and is no clone"):
        clones.enter()
    assert (home / "code").read_text() == "mine"


def test_a_password_in_an_address_is_in_no_error(
    home: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://grower:s3cr@t@127.0.0.1:9/field.git"
    monkeypatch.setenv("OUTPLANT_REPOSITORY", address)
    git(here, "remote", "set-url", "origin", address)
    (here / "dvc.lock").write_text("b: 1\n")
    attempts: list[Callable[[], object]] = [
        clones.enter,
        lambda: clones.checkout("0" * 40),
        lambda: clones.commit_lock("lock", "Train"),
        lambda: clones.git("ls-remote", address),
    ]
    for attempt in attempts:
        with pytest.raises(StepError) as found:
            attempt()
        monkeypatch.chdir(here)
        said = str(found.value)
        assert "127.0.0.1" in said
        assert "\n" not in said
        assert not {part for part in ("grower", "s3cr", "t@127") if part in said}


def test_a_commit_is_fetched_where_only_the_origin_has_it(here: Path, tmp_path: Path) -> None:
    newer = commit(tmp_path / "first", code="2")
    git(tmp_path / "first", "push", "-q", "origin", "HEAD:main")
    assert not clones.has(newer)
    clones.checkout(newer)
    assert (here / "code").read_text() == "2"
    assert git(here, "branch", "--show-current") == ""


def test_a_commit_that_nobody_pushed_is_one_line(here: Path, tmp_path: Path) -> None:
    newer = commit(tmp_path / "first", code="2")
    with pytest.raises(StepError) as found:
        clones.checkout(newer)
    assert str(found.value) == (
        f"{tmp_path}/origin.git has no commit {newer[:12]}; `git push` it there"
    )
    assert type(found.value) is StepError


def test_an_origin_that_does_not_answer_is_asked_again(here: Path, tmp_path: Path) -> None:
    (tmp_path / "origin.git").rename(tmp_path / "gone.git")
    with pytest.raises(TryAgain, match=r"^git fetch: fatal: .*origin.git' does not appear to be"):
        clones.checkout("0" * 40)


@pytest.mark.parametrize("tracked", [True, False])
def test_a_lock_of_the_stage_before_is_no_change(here: Path, tmp_path: Path, tracked: bool) -> None:
    if not tracked:
        git(here, "rm", "-q", "dvc.lock")
        commit(here, code="3")
    newer = commit(here, **{"code": "4", "dvc.lock": "c: 1\n"})
    clones.checkout(git(here, "rev-parse", "HEAD~1"))
    (here / "dvc.lock").write_text("{}")
    clones.checkout(newer)
    assert (here / "code").read_text() == "4"


def test_a_clone_with_changes_is_refused_and_keeps_them(here: Path) -> None:
    first = git(here, "rev-parse", "HEAD")
    commit(here, code="2")
    (here / "code").write_text("mine")
    with pytest.raises(StepError, match=r"is no worker's own clone, for it has changes \(code\);"):
        clones.checkout(first)
    assert (here / "code").read_text() == "mine"


def test_a_file_that_git_does_not_know_is_not_written_over(here: Path) -> None:
    newer = commit(here, notes="theirs")
    clones.checkout(git(here, "rev-parse", "HEAD~1"))
    (here / "notes").write_text("mine")
    with pytest.raises(StepError, match=r"is no worker's own clone, .* changes \(notes\);"):
        clones.checkout(newer)
    assert (here / "notes").read_text() == "mine"


def test_what_dvc_itself_writes_is_no_change(here: Path) -> None:
    newer = commit(here, **{".gitignore": "/model\n/more\n"})
    clones.checkout(git(here, "rev-parse", "HEAD~1"))
    for _ in range(2):
        (here / ".gitignore").write_text("/model\n")
        clones.checkout(newer)
    assert (here / ".gitignore").read_text() == "/model\n/more\n"


def test_workers_are_given_commits_alone(here: Path) -> None:
    (here / "dvc.lock").write_text("b: 1\n")
    (here / "new").write_text("not known to git")
    assert clones.head() == git(here, "rev-parse", "HEAD")
    (here / "code").write_text("2")
    with pytest.raises(StepError, match=r"^not as committed: code; workers see commits alone"):
        clones.head()


def test_the_lock_alone_is_committed_to_the_branch_that_is_checked_out(here: Path) -> None:
    (here / "dvc.lock").write_text("b: 1\n")
    (here / "code").write_text("2")
    git(here, "add", "code")
    made = clones.commit_lock("", "Train: 1 ran")
    assert made == git(here, "rev-parse", "HEAD")
    assert git(here, "show", "--format=%s %an <%ae>", "--name-only").split("\n\n") == [
        "Train: 1 ran outplant <outplant@localhost>",
        "dvc.lock",
    ]
    assert git(here, "status", "--porcelain") == "M  code"
    assert git(here, "rev-parse", "origin/main") == git(here, "rev-parse", "HEAD~1")


def test_the_branch_that_is_checked_out_is_pushed_where_it_is_named(
    here: Path, origin: Path
) -> None:
    (here / "dvc.lock").write_text("b: 1\n")
    assert clones.commit_lock("main", "Train") == git(origin, "rev-parse", "main")


@pytest.mark.parametrize("branch", ["", "main", "lock"])
def test_no_change_is_no_commit(here: Path, branch: str) -> None:
    before = git(here, "rev-parse", "HEAD")
    assert clones.commit_lock(branch, "Train") == ""
    assert git(here, "rev-parse", "HEAD") == before
    assert git(here, "branch", "--list", "lock") == ""


def test_another_branch_gets_the_lock_and_this_folder_does_not_change(
    here: Path, origin: Path
) -> None:
    (here / "dvc.lock").write_text("b: 1\n")
    (here / "code").write_text("2")
    git(here, "add", "code")
    before = git(here, "rev-parse", "HEAD"), git(here, "status", "--porcelain")
    made = clones.commit_lock("lock", "Train")
    assert (git(here, "rev-parse", "HEAD"), git(here, "status", "--porcelain")) == before
    assert git(origin, "rev-parse", "lock") == made
    assert git(origin, "show", "lock:dvc.lock") == "b: 1"
    assert git(origin, "show", "lock:code") == "1"
    assert git(origin, "rev-parse", "lock~1") == before[0]
    assert clones.commit_lock("lock", "Train") == ""  # it has this very lock
    assert git(origin, "rev-parse", "lock") == made
    (here / "dvc.lock").write_text("b: 2\n")
    assert clones.commit_lock("lock", "Train") not in ("", made)
    assert git(origin, "show", "lock:dvc.lock") == "b: 2"


def test_a_lock_that_could_not_be_pushed_is_pushed_by_the_next_run(
    here: Path, origin: Path, tmp_path: Path
) -> None:
    (here / "dvc.lock").write_text("b: 1\n")
    origin.rename(tmp_path / "gone.git")
    with pytest.raises(TryAgain, match="git push: "):
        clones.commit_lock("lock", "Train")
    (tmp_path / "gone.git").rename(origin)
    clones.commit_lock("lock", "Train")
    assert git(origin, "show", "lock:dvc.lock") == "b: 1"


@pytest.mark.parametrize("whose", ["ours", "the origin's"])
def test_a_branch_with_more_than_a_lock_keeps_it(here: Path, origin: Path, whose: str) -> None:
    git(here, "switch", "-q", "-c", "theirs")
    tip = commit(here, work="a week's")
    git(here, "push", "-q", "origin", "theirs")
    git(here, "switch", "-q", "main")
    if whose == "the origin's":
        git(here, "branch", "-q", "-D", "theirs")
    (here / "dvc.lock").write_text("b: 1\n")
    with pytest.raises(StepError, match=r"^branch theirs has commits that HEAD has not \(work\);"):
        clones.commit_lock("theirs", "Train")
    assert git(origin, "rev-parse", "theirs") == tip


def test_a_branch_that_moved_at_the_origin_meanwhile_keeps_what_it_got(
    here: Path, origin: Path, tmp_path: Path
) -> None:
    (here / "dvc.lock").write_text("b: 1\n")
    clones.commit_lock("lock", "Train")
    git(tmp_path / "first", "fetch", "-q", "origin")
    git(tmp_path / "first", "switch", "-q", "lock")
    tip = commit(tmp_path / "first", work="a week's")
    git(tmp_path / "first", "push", "-q", "origin", "lock")
    (here / "dvc.lock").write_text("b: 2\n")
    with pytest.raises(StepError, match=r"git push: .*stale info"):
        clones.commit_lock("lock", "Train")
    assert git(origin, "rev-parse", "lock") == tip


def test_a_commit_has_the_author_whom_git_or_the_environment_names(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "dvc.lock").write_text("b: 1\n")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "CI")
    clones.commit_lock("", "Train")
    assert git(here, "log", "-1", "--format=%an, %ae") == "CI, outplant@localhost"
    git(here, "config", "user.name", "Ada")
    git(here, "config", "user.email", "ada@localhost")
    monkeypatch.delenv("GIT_AUTHOR_NAME")
    (here / "dvc.lock").write_text("b: 2\n")
    clones.commit_lock("", "Train")
    assert git(here, "log", "-1", "--format=%an, %ae") == "Ada, ada@localhost"


def test_a_clone_has_one_run_at_once(here: Path) -> None:
    run_elsewhere = "another run is at work in .*here; wait for it or stop it"
    with multiprocessing.get_context("spawn").Pool(1) as elsewhere:
        with clones.alone():
            assert "another run is at work" in elsewhere.apply(tried)
            with pytest.raises(StepError, match=run_elsewhere), clones.alone():
                pass
            with pytest.raises(StepError, match=run_elsewhere), clones.own():
                pass
        assert elsewhere.apply(tried) == ""
    with clones.own(), pytest.raises(StepError, match=run_elsewhere), clones.alone():
        pass


def tried() -> str:
    try:
        with clones.alone():
            return ""
    except StepError as error:
        return str(error)


def test_a_killed_run_leaves_no_lock(here: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=killed, args=(os.fspath(here),))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert (here / clones.RUN).exists()
    assert tried() == ""


def killed(folder: str) -> None:
    os.chdir(folder)
    with clones.alone():
        os.kill(os.getpid(), 9)
