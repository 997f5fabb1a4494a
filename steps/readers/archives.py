"""Bytes of compressed files and archive members: streaming, bounded, damage said by name."""

import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from stat import S_ISLNK
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from steps.core.entry import StepError
from steps.core.files import climbs

RATIO = 1000  # a file that unpacks to more than so many times its size,
GIANT = 1 << 30  # and to more bytes than this, is a bomb
CHUNK = 1 << 20
PIECE = 4 << 10
IDLE = 4  # compressed tars that a process keeps open between two of their members
SQUEEZED = {".gz": "gzip", ".zst": "zstd"}
TARS = {".tar": "", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd", ".tzst": "zstd"}
OTHERS = (".7z", ".rar", ".bz2", ".xz", ".tbz2", ".txz", ".lz4")
DAMAGE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, pa.ArrowException)


class Damaged(StepError):
    """A compressed file or an archive ends early, or is not what its name says."""


class Member(NamedTuple):
    """A file of an archive; `at`: its index in a zip, its first byte in an unpacked tar."""

    name: str
    size: int
    at: int


def kind(name: str) -> str:
    """Say what a file's name ends in that is unpacked here: ".zip", ".tar.gz", ".gz", or ""."""
    ends = (".zip", *TARS, *SQUEEZED, *OTHERS)
    return next((end for end in ends if name.lower().endswith(end)), "")


class Guarded(io.RawIOBase):
    """A stream that counts what it gives, refuses bombs and names the file that is damaged."""

    def __init__(self, inner: Any, how: str, name: str, size: int) -> None:
        self._inner, self._how, self._name, self._size, self._given = inner, how, name, size, 0
        self._damage: Damaged | None = None

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._given

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer by small pieces: what comes before the damage is given, then said."""
        filled = 0
        while filled < len(buffer) and not self._damage:
            try:
                data = self._inner.read(min(PIECE, len(buffer) - filled))
            except DAMAGE as error:
                self._damage = _damaged(self._name, self._how, error)
                break
            if not data:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        if self._damage and not filled:
            raise self._damage
        self._given += filled
        refuse_bomb(self._name, self._given, self._size)
        return filled

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class Slice(io.RawIOBase):
    """The next `size` bytes of a stream that others go on to read."""

    def __init__(self, inner: Any, size: int) -> None:
        self._inner, self._left = inner, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def refuse_bomb(name: str, unpacked: int, packed: int) -> None:
    """StepError where a file unpacks to far more than text does."""
    if unpacked > GIANT and unpacked > RATIO * packed:
        raise StepError(f"{name} ({packed} bytes) unpacks to more than {RATIO} times its size and"
                        f" {GIANT >> 20} MiB, as bombs do; take it out of the source")  # fmt: skip


def unpacked(stream: Any, how: str, name: str, size: int) -> Guarded:
    """Decompress what a stream holds; `size` is that of the compressed bytes."""
    source = pa.OSFile(str(stream)) if isinstance(stream, Path) else pa.PythonFile(stream, "r")
    return Guarded(pa.CompressedInputStream(source, how), how, name, size)


def members(path: Path, name: str) -> tuple[list[Member], list[str]]:
    """List an archive's files, and the names of what is left out: links, devices, archives.

    StepError where a member climbs out of its folder, or the archive cannot be read.
    """
    size = path.stat().st_size
    try:
        listed = list(_in_zip(path, name) if kind(name) == ".zip" else _in_tar(path, name, size))
    except DAMAGE as error:
        how = TARS.get(kind(name)) or kind(name).removeprefix(".")
        raise _damaged(name, how, error) from None
    except NotImplementedError as error:
        raise _unknown(name, error) from None
    files: list[Member] = []
    left_out: list[Member] = []
    for member, is_file in listed:
        if climbs(member.name):
            raise StepError(f"{name}: its member {member.name!r} climbs out of the archive's"
                            " folder; expected relative names below it; pack it again")  # fmt: skip
        inner = kind(member.name)
        opened = is_file and (not inner or inner in SQUEEZED) and "__MACOSX/" not in member.name
        (files if opened else left_out).append(member)
    refuse_bomb(name, sum(member.size for member in files), size)
    return files, [member.name for member in left_out]


def _in_zip(path: Path, name: str) -> Iterator[tuple[Member, bool]]:
    with zipfile.ZipFile(path) as archive:
        for at, item in enumerate(archive.infolist()):
            if item.flag_bits & 1:
                raise StepError(f"{name}: {item.filename!r} is encrypted; put it unpacked into the"
                                " source")  # fmt: skip
            if not item.is_dir():
                is_link = S_ISLNK(item.external_attr >> 16)
                yield Member(item.filename.removeprefix("./"), item.file_size, at), not is_link


def _in_tar(path: Path, name: str, size: int) -> Iterator[tuple[Member, bool]]:
    how = TARS[kind(name)]
    whole = unpacked(path, how, name, size) if how else path.open("rb")
    with whole, tarfile.open(fileobj=cast(BinaryIO, whole), mode="r|" if how else "r:") as archive:
        for item in archive:
            is_file = item.isreg() and not item.issparse()
            if is_file and not how and item.offset_data + item.size > size:
                raise EOFError(f"{item.name!r} ends early")
            if not item.isdir():
                yield Member(item.name.removeprefix("./"), item.size, item.offset_data), is_file
            archive.members = []  # type: ignore[attr-defined]  # else it remembers all


@contextmanager
def member_bytes(path: Path, name: str, member: Member) -> Iterator[Any]:
    """Open one member; of a compressed tar in the archive's order, else what lies before it is
    unpacked again."""
    how = TARS.get(kind(path.name), "")
    if kind(path.name) == ".zip":
        archive = _zip(path, path.stat().st_mtime_ns, os.getpid())
        try:
            inner = archive.open(archive.infolist()[member.at])
        except DAMAGE as error:
            raise _damaged(name, "zip", error) from None
        except NotImplementedError as error:
            raise _unknown(name, error) from None
        with Guarded(inner, "zip", name, member.size) as stream:
            yield stream
    elif how:
        with _stream_at(path, how, member.at) as unpacked_tar:
            yield Slice(unpacked_tar, member.size)
    else:
        with path.open("rb") as tar:
            tar.seek(member.at)
            yield Slice(tar, member.size)


@lru_cache(maxsize=IDLE)
def _zip(path: Path, changed: int, process: int) -> zipfile.ZipFile:
    """Keep a zip open: to read its list again for each member takes long. Not across a fork."""
    return zipfile.ZipFile(path)


_idle: dict[tuple[Path, int, int], Guarded] = {}  # compressed tars, where their last reader left


@contextmanager
def _stream_at(path: Path, how: str, at: int) -> Iterator[Guarded]:
    """Give an unpacked tar at a byte of it: the one left open if it is not yet past that byte."""
    key = (path, path.stat().st_mtime_ns, os.getpid())
    stream = _idle.pop(key, None)
    if stream is None or stream.tell() > at:
        stream = unpacked(path, how, path.name, path.stat().st_size)
    while gap := at - stream.tell():
        if not stream.read(min(gap, CHUNK)):
            raise Damaged(f"{path.name} is shorter than it was; fetch it again")
    yield stream
    while len(_idle) >= IDLE:
        _idle.pop(next(iter(_idle))).close()
    _idle[key] = stream


def _damaged(name: str, how: str, error: BaseException) -> Damaged:
    return Damaged(f"{name} is no whole {how} file ({error}); fetch it again, or take it out of the"
                   " source")  # fmt: skip


def _unknown(name: str, error: NotImplementedError) -> StepError:
    """What zipfile knows to be a zip and cannot read: a method, or a version, of another packer."""
    return StepError(f"{name} is packed in a way that is not read here ({error}); expected zip's"
                     " deflate; pack it again, or put it unpacked into the source")  # fmt: skip
