"""The clone that a flow works in: to enter it, to bring it to a commit, to commit its dvc.lock."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from steps.core.entry import StepError, TryAgain

HOME, REPOSITORY = "OUTPLANT_HOME", "OUTPLANT_REPOSITORY"
LOCK = "dvc.lock"
RUN, STAGE = Path(".outplant/run.lock"), Path(".outplant/stage.lock")  # freed with their process
NOBODY = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "outplant"), ("EMAIL", "outplant@localhost"))}  # fmt: skip


def enter() -> None:
    """Go to OUTPLANT_HOME, where it is set; where it is empty, clone OUTPLANT_REPOSITORY there."""
    home, address = os.environ.get(HOME), os.environ.get(REPOSITORY)
    if not home:
        return
    if not Path(home, ".git").exists():
        if not address:
            raise StepError(
                f"{HOME} is {home}, which is no clone of the project; make one there with "
                f"`git clone`, or set {REPOSITORY}"
            )
        _clone(address, Path(home.rstrip("/")))
    os.chdir(home)


def _clone(address: str, home: Path) -> None:
    """Clone beside it first: what a kill cuts short is no clone."""
    home.parent.mkdir(parents=True, exist_ok=True)
    part = home.with_name(f"{home.name}.part")
    with FileLock(f"{home}.lock"):
        if (home / ".git").exists():  # another worker was quicker
            return
        if home.exists() and any(home.iterdir()):
            raise StepError(f"{HOME} is {home}, which has files and is no clone; name another")
        shutil.rmtree(part, ignore_errors=True)
        _passing("clone", "--quiet", address, str(part))
        part.rename(home)


@contextmanager
def alone() -> Iterator[None]:
    """Have the clone for a run; StepError at once where another has it."""
    with _locked(RUN, 0):
        yield


@contextmanager
def own() -> Iterator[None]:
    """Have the clone for one stage of a worker, after those before; no run may be in it."""
    with _locked(STAGE, -1), _locked(RUN, 0):
        yield


@contextmanager
def _locked(lock: Path, seconds: float) -> Iterator[None]:
    lock.parent.mkdir(exist_ok=True)
    held = FileLock(lock, timeout=seconds)
    try:
        held.acquire()
    except Timeout:
        raise StepError(
            f"another run is at work in {Path.cwd()}; wait for it or stop it; a worker of a fleet "
            f"needs a clone of its own ({HOME})"
        ) from None
    try:
        yield
    finally:
        held.release()


def checkout(commit: str) -> None:
    """Bring the clone to a commit, fetched where it is not there; it has no branch then."""
    if not has(commit):
        _passing("fetch", "--quiet", "origin")
    if not has(commit):
        origin = git("remote", "get-url", "origin")
        raise StepError(f"{origin} has no commit {commit[:12]}; `git push` it there")
    _keep_changes(commit)
    git("checkout", "--quiet", "--force", "--detach", commit)


def has(commit: str) -> bool:
    """Whether a commit is in this clone."""
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}")
    except StepError:
        return False
    return True


def head() -> str:
    """Return the commit that all workers can be given; StepError where files differ from it."""
    if names := _changed():
        raise StepError(
            f"not as committed: {', '.join(names[:3])}; workers see commits alone: commit, and "
            "`git push` to where they fetch from"
        )
    return git("rev-parse", "HEAD")


def _changed() -> list[str]:
    """Name what differs from the commit that is checked out; dvc.lock may."""
    lines = git("status", "--porcelain", "--untracked-files=no").splitlines()
    return [name for line in lines if (name := line.split()[-1]) != LOCK]


def _keep_changes(commit: str) -> None:
    """StepError where a checkout would write over someone's work; DVC's own files are none."""
    theirs = set(git("ls-tree", "-r", "-z", "--name-only", commit).split("\0"))
    unknown = theirs.intersection(git("ls-files", "-z", "--others").split("\0"))
    kept = {LOCK, ".gitignore", ""}
    names = [name for name in [*_changed(), *sorted(unknown)] if Path(name).name not in kept]
    if names:
        raise StepError(
            f"{Path.cwd()} is no worker's own clone, for it has changes ({', '.join(names[:3])}); "
            f"set {HOME} to another"
        )


def commit_lock(branch: str, message: str) -> str:
    """Commit dvc.lock, and nothing else, to a branch; return the commit, or "" where none is due.

    An empty name is the branch that is checked out. Another branch gets HEAD with the new dvc.lock
    (no file of this folder changes) and is pushed, where there is an origin.
    """
    ours = git("branch", "--show-current")
    if branch and branch != ours:
        return _commit_aside(branch, message)
    git("add", LOCK)
    if not git("diff", "--cached", "--name-only", "--", LOCK):
        return ""
    git("commit", "--quiet", "--only", "-m", message, "--", LOCK, settings=_author())
    if branch:
        _push(branch)
    return git("rev-parse", "HEAD")


def _commit_aside(branch: str, message: str) -> str:
    """Commit to a branch that is not checked out, through an index of its own."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git("read-tree", "HEAD", settings=index)
        git("add", LOCK, settings=index)
        tree = git("write-tree", settings=index)
    if tree == git("rev-parse", "HEAD^{tree}"):
        return ""
    ours = f"refs/heads/{branch}"
    for tip in filter(has, (ours, f"refs/remotes/origin/{branch}")):
        _keep_work(branch, tip)
    made = ""
    if not has(ours) or tree != git("rev-parse", f"{ours}^{{tree}}"):
        made = git("commit-tree", tree, "-p", "HEAD", "-m", message, settings=_author())
        git("branch", "--force", branch, made)
    _push("--force-with-lease", branch)
    return made


def _keep_work(branch: str, tip: str) -> None:
    """StepError where a branch has more than dvc.lock that HEAD has not: it would be lost."""
    names = set(git("log", "--format=", "--name-only", f"HEAD..{tip}").split("\n")) - {"", LOCK}
    if names:
        raise StepError(
            f"branch {branch} has commits that HEAD has not ({', '.join(sorted(names)[:3])}); name "
            "another branch for dvc.lock, or merge it first"
        )


def _push(*arguments: str) -> None:
    """Push to where this was cloned from, if it was."""
    if "origin" in git("remote").split():
        _passing("push", "--quiet", *arguments[:-1], "origin", arguments[-1])


def _passing(*arguments: str) -> None:
    """Run git where a network is in between."""
    try:
        git(*arguments)
    except StepError as error:
        raise TryAgain(str(error)) from None


def git(*arguments: str, settings: dict[str, str] | None = None) -> str:
    """Run git here and return what it prints; StepError with its last line where it fails."""
    done = _git(arguments, os.environ | {"GIT_TERMINAL_PROMPT": "0"} | (settings or {}))
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("hint: ")]
        line = " ".join(" ".join(said or ["it said nothing"]).split())
        raise StepError(f"git {arguments[0]}: {line}")
    return done.stdout.strip()


def _author() -> dict[str, str]:
    """Name an author for git where nobody is set, as in a container."""
    known = _git(["config", "user.email"], dict(os.environ)).stdout.strip()
    return {} if known else {name: NOBODY[name] for name in NOBODY if name not in os.environ}


def _git(arguments: Sequence[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, env=settings
    )
