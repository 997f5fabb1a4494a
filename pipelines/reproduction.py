"""A version made anew: its commit in a git worktree, its stages run again, its files compared.

By default the task's own stages run, the training of all its candidates among them, for they were
compared; what comes before (documents, splits, adapted models) is fetched by the hashes that the
version was made with. `everything` runs all but `fetch`, whose outs are bytes of others. Forced
stages never come out of DVC's run cache, and what they make is put into no cache.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from pipelines import lineage, registry, stages, traces
from pipelines.tracing import UNTRACED
from pipelines.versions import Version
from steps.core.entry import StepError
from steps.core.files import digest

FOLDER = Path(".outplant")  # on the disk of DVC's cache
OWN = ("augment", "prepare", "finetune", "evaluate", "compare", "bundle")  # kinds of stages
SETTINGS = Path(".dvc/config.local")  # of this clone, and in no commit
Say = Callable[[str], None]


def reproduce(found: Version, everything: bool, say: Say) -> dict[str, str]:
    """Return for each file of the bundle whether it is the same, differs, is missing or new.

    StepError where the version was made from files that no commit has, or a stage fails.
    """
    require_committed(found)
    folder = registry.trace(found)
    if folder is None:
        raise StepError(f"version {found.number} of {found.task} {UNTRACED}")
    upstream: lineage.Entries = traces.read(folder)["stages"]
    bundle = Path("bundles") / found.task
    registered = registry.files(found)[0]
    for line in other_packages(registered.parent.parent / "requirements.txt"):
        say(line)
    anew = [name for name in ordered(upstream) if runs(name, everything)]
    with worktree(found.commit) as clone:
        fetch(upstream, anew, clone, say)
        say(f"running {len(anew)} of {len(upstream)} stages at commit {found.commit[:12]}")
        flags = ["--single-item", "--force", "--no-commit"]
        stages.call(["repro", *flags, *anew], say, clone)
        return compared(registered, clone / bundle)


def require_committed(found: Version) -> None:
    """StepError unless a commit has all code and params that a version was made from."""
    what = f"version {found.number} of {found.task}"
    if not found.commit:
        raise StepError(f"{what} was made outside git: no commit to go back to; commit, and repro")
    if found.dirty:
        raise StepError(
            f"{what} was made from files that were not committed: {', '.join(found.dirty)};"
            " commit them, run `dvc repro`, and reproduce the version that it registers"
        )


def runs(name: str, everything: bool) -> bool:
    """Whether a stage is run again."""
    kind = name.partition("@")[0]
    return kind != "fetch" if everything else kind in OWN


def ordered(upstream: lineage.Entries) -> list[str]:
    """Names of the stages, each after those whose outs it reads."""
    known = (
        stages.Stage(name, tuple(lineage.parents(upstream, name)), "cpu", False)
        for name in sorted(upstream)
    )
    return [stage.name for stage in stages.in_order(known)]


def fetch(upstream: lineage.Entries, anew: list[str], clone: Path, say: Say) -> None:
    """Bring what the stages read that are run, by its hashes: from the remote or this clone."""
    needed = {parent for name in anew for parent in lineage.parents(upstream, name)} - set(anew)
    bring(upstream, needed, clone, say)


def bring(upstream: lineage.Entries, needed: set[str], clone: Path, say: Say) -> None:
    """Bring what stages have made into a clone, as their entries say, from remote or cache."""
    cache = asked("cache", "dir")
    lock = {"schema": "2.0", "stages": upstream}
    (clone / lineage.LOCK).write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    if SETTINGS.exists():
        shutil.copyfile(SETTINGS, clone / SETTINGS)
    stages.call(["cache", "dir", "--local", cache], say, clone)
    if needed:
        order = "pull" if asked("config", "core.remote") else "checkout"
        try:
            stages.call([order, *sorted(needed)], say, clone)
        except StepError as error:
            raise StepError(
                f"not all of what {needed} made is in DVC's cache: {error}; `dvc pull --run-cache`"
                " where it was pushed from"
            ) from None


def compared(registered: Path, made: Path) -> dict[str, str]:
    """Compare two bundles file by file, by sha256."""
    old, new = ({p.relative_to(at).as_posix() for p in _inside(at)} for at in (registered, made))
    said = dict.fromkeys(old - new, "missing") | dict.fromkeys(new - old, "new")
    for name in old & new:
        same = digest(registered / name) == digest(made / name)
        said[name] = "same" if same else "differs"
    return dict(sorted(said.items()))


def other_packages(requirements: Path) -> Iterator[str]:
    """Say which packages are of another version here than when the bundle was made."""
    lines = requirements.read_text().splitlines() if requirements.exists() else []
    for name, sign, wanted in (line.partition("==") for line in lines):
        try:
            here = version(name).partition("+")[0]
        except PackageNotFoundError:
            here = "none"
        if sign and here != wanted:
            yield f"made with {name} {wanted}, here is {here}: numbers may differ"


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Give a worktree of the commit, gone afterwards."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=FOLDER) as folder:
        clone = Path(folder).absolute() / "worktree"
        _git("worktree", "add", "--detach", str(clone), commit)
        try:
            yield clone
        finally:
            _git("worktree", "remove", "--force", str(clone))


def asked(*arguments: str) -> str:
    """The last line that DVC says here; nothing where it has nothing to say."""
    lines: list[str] = []
    try:
        stages.call(list(arguments), lines.append)
    except StepError:  # such as a setting that is not set
        return ""
    return lines[-1] if lines else ""


def _inside(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise StepError(
            f"git {arguments[0]} {arguments[1]}: {said}; fetch the commit, if it is gone"
        )
