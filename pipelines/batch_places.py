"""Where rows are read from and written to: here, or in an S3."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from steps.core.entry import StepError
from steps.sources.bucket import Bucket, fetch_s3
from steps.sources.tray import Tray

S3 = "s3://"


@dataclass(frozen=True)
class Place:
    """A file or a folder as the user calls it."""

    name: str

    @property
    def remote(self) -> bool:
        return self.name.startswith(S3)

    def beside(self, end: str) -> "Place":
        """A file beside it, whose name ends so."""
        return Place(self.name.rstrip("/") + end)

    def exists(self) -> bool:
        if not self.remote:
            return Path(self.name).exists()
        bucket, key = self._bucket()
        return any(True for _ in bucket.list(key))

    @contextmanager
    def written(self, folder: bool) -> Iterator[Path]:
        """Give a new file, or a folder; when it is whole it takes this place."""
        path = Path(self.name).absolute()
        parent = Path(tempfile.gettempdir()) if self.remote else path.parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=parent) as room:
            made = Path(room) / path.name
            if folder:
                made.mkdir()
            yield made
            if self.remote:
                self._upload(made)
            else:
                if path.is_dir():
                    shutil.rmtree(path)
                made.replace(path)

    def _upload(self, made: Path) -> None:
        """Files of a folder one by one: none is there but whole."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = self._bucket()
        files = sorted(made.iterdir()) if made.is_dir() else [made]
        for file in files:
            to = f"{key}/{file.name}" if made.is_dir() else key
            try:
                bucket.client.upload_file(str(file), bucket.name, to)
            except (Boto3Error, BotoCoreError, ClientError) as error:
                raise StepError(
                    f"cannot write s3://{bucket.name}/{to}: {error}; see that the bucket is there"
                    " and that you may write to it, and run this again"
                ) from None

    def _bucket(self) -> tuple[Any, str]:
        name, _, key = self.name.removeprefix(S3).partition("/")
        return Bucket(self.name, name), key.rstrip("/")


def target(out: str) -> Place:
    """Read where to write; StepError where that is no name."""
    if out.startswith(S3) and not out.removeprefix(S3).partition("/")[2].strip("/"):
        raise StepError(f"{out!r} names no object; expected s3://bucket/name")
    return Place(out)


@contextmanager
def alone(folder: Path, source: str) -> Iterator[None]:
    """Make a folder and hold it, so that two do not write into it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink()
    except Timeout:
        raise StepError(f"{source} is being predicted by another process; wait for it") from None


@contextmanager
def fetched(source: str, room: Path) -> Iterator[Path]:
    """Give what is to be read as a file or folder here; an S3 prefix is fetched for this once."""
    if not source.startswith(S3):
        yield Path(source)
        return
    folder = room / f"fetched-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    with alone(folder, source):
        shutil.rmtree(folder)  # of a run that was killed: what it fetched may have changed since
        folder.mkdir()
        try:
            fetch_s3(source, Tray(folder, ["*"], 0))
            yield folder
        finally:
            shutil.rmtree(folder)
