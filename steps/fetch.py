"""Stage `fetch`: a source -> data/raw/<source>, only what its `include` names, checked.

    python -m steps.fetch NAME OUT

`include` holds globs over the names inside a source (`*` also matches `/`): a name is taken where
one matches and none that starts with `!` does. `strip` then cuts so many leading folders. Links are
left out, and said so. What adaptations start from has to be a checkpoint without pickles; what
recipes start from may be word vectors, and is looked at by `prepare`.
"""

from collections.abc import Callable
from pathlib import Path

from steps.core import params
from steps.core.entry import StepError, run
from steps.core.files import whole
from steps.core.params import Source
from steps.sources.bucket import fetch_s3
from steps.sources.folder import fetch_path
from steps.sources.hub import fetch_hub
from steps.sources.pypi import fetch_pypi
from steps.sources.registered import fetch_registered
from steps.sources.tray import Tray
from steps.transfer.starts import require_checkpoint


def fetch_mlflow(path: str, tray: Tray) -> None:
    """Ask MLflow, through its one door."""
    from pipelines import registry

    fetch_registered(path, tray, registry)


SOURCES: dict[str, Callable[[str, Tray], None]] = {
    "path": fetch_path,
    "s3": fetch_s3,
    "hub": fetch_hub,
    "pypi": fetch_pypi,
    "mlflow": fetch_mlflow,
}


def fetch(source: Source, out: Path) -> None:
    """Fill `out` from the source; StepError where nothing of it is wanted."""
    kind = params.choose(source.kind, SOURCES, "kind of source")
    try:
        with whole(out) as folder:
            kind(source.path, Tray(folder, source.include, source.strip))
            if not any(folder.iterdir()):
                globs = ", ".join(source.include)
                raise StepError(f"no file of {source.path} is matched by include: {globs}; mend it")
    except OSError as error:
        raise StepError(
            f"cannot fetch {source.path} into {out}: {error}; let it be read, and check the disk"
        ) from None


def main(name: str, out: Path) -> None:
    """Fetch the source NAME of params.yaml into the folder OUT."""
    known = params.load()
    fetch(params.choose(name, known.sources, "source"), out)
    starts = {adaptation.start for adaptation in known.adaptations.values()}
    if str(out) in starts | {
        known.profile.start
    }:  # else DVC misses a tokenizer.json there, and does not say why
        require_checkpoint(out)


if __name__ == "__main__":
    run(main)
