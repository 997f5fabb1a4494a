"""The files of a source one by one, unpacked where need be, and text files line by line."""

import codecs
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from pydantic import field_validator

from steps.core.entry import StepError
from steps.core.params import Section
from steps.readers import archives
from steps.readers.archives import CHUNK, SQUEEZED, Damaged, Member

MAX_LINE = 32 << 20  # bytes
MAX_TEXT = 512 << 20  # bytes of a file that is read as one text
SHOWN = 200  # characters that are kept of a line too long
UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class File:
    """One readable file. `name` is relative to `root`, without .gz or .zst, an archive's member
    "pack.zip/inner/x.jsonl"; `size` is in bytes as stored; `squeezed`: how it is compressed."""

    root: Path
    name: str
    size: int
    disk: Path
    squeezed: str = ""
    member: Member | None = None

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Give its bytes, unpacked; StepError where it is damaged or a bomb."""
        with ExitStack() as stack:
            stream: Any = self.disk
            if self.member:
                packed = archives.member_bytes(self.disk, self.name, self.member)
                stream = stack.enter_context(packed)
            if self.squeezed:
                unpacked = archives.unpacked(stream, self.squeezed, self.name, self.size)
                stream = stack.enter_context(unpacked)
            if isinstance(stream, Path):
                yield cast(BinaryIO, stack.enter_context(stream.open("rb")))
            else:
                yield cast(BinaryIO, BufferedReader(stream, CHUNK))

    @contextmanager
    def path(self) -> Iterator[Path]:
        """Give a file on disk, for libraries that read no streams; of a packed one a copy."""
        if not self.squeezed and not self.member:
            yield self.disk
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, PurePosixPath(self.name).name)
            with self.open() as stream, copy.open("wb") as out:
                shutil.copyfileobj(stream, out, CHUNK)
            yield copy


class Line(NamedTuple):
    """A line without its end; `reason`: "not_utf8", "nul_bytes", "line_too_long", "truncated"."""

    number: int
    text: str
    reason: str


def files(root: Path, suffixes: tuple[str, ...]) -> list[File]:
    """List the files under `root` (or that file itself) whose names end so; () takes all names.

    Sorted by name, members of a compressed tar as they lie in it. Links, devices and archives
    inside archives are left out, and said so.
    """
    if not root.exists():
        raise StepError(f"no file or folder {root}; mend its name, or make it by `dvc repro`")
    top = root.parent if root.is_file() else root
    paths = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
    found: list[File] = []
    left_out: list[str] = []
    for path in sorted(paths, key=lambda path: path.relative_to(top).as_posix()):
        name = path.relative_to(top).as_posix()
        end = archives.kind(name)
        if end == ".zip" or end in archives.TARS:
            inside, unread = archives.members(path, name)
            if end in (".zip", ".tar"):
                inside.sort()
            found += [_file(top, f"{name}/{m.name}", m.size, path, m) for m in inside]
            left_out += [f"{name}/{other}" for other in unread]
        elif end in archives.OTHERS:
            left_out.append(name)
        else:
            found.append(_file(top, name, path.stat().st_size, path, None))
    if left_out:
        print(f"left out {len(left_out)} links, devices, or archives of a kind or in a place that"
              f" is not unpacked: {', '.join(left_out[:3])}{', ...' * (len(left_out) > 3)}",
              file=sys.stderr)  # fmt: skip
    return [file for file in found if not suffixes or file.name.lower().endswith(suffixes)]


def _file(root: Path, name: str, size: int, disk: Path, member: Member | None) -> File:
    end = archives.kind(name)
    if end not in SQUEEZED:
        return File(root, name, size, disk, "", member)
    return File(root, name[: -len(end)], size, disk, SQUEEZED[end], member)


@cache
def split_of(name: str) -> str:
    """Say which split a file's name, or its folder's, gives: "train", "validation", "test", "".

    `train.csv`, `en-test.conll`, `data/dev/x.txt`, `train-00000-of-00002.parquet`.
    """
    path = PurePosixPath(name)
    for part in (path.name.split(".")[0], path.parent.name):
        words = {SPLITS.get(word, "") for word in re.split(r"[-_ ]", part.lower())} - {""}
        if len(words) == 1:
            return words.pop()
    return ""


class Named(Section):
    """`language_in_name`: a regular expression; its group is the language of a file of that name
    ("xquad.(\\w+).json"), for records that do not say theirs."""

    language_in_name: str = ""

    @field_validator("language_in_name")
    @classmethod
    def _has_a_group(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"expected a regular expression ({error})") from None
        if value and groups != 1:
            raise ValueError(f"expected one group, in ( ), around the language; found {groups}")
        return value


def language_of(name: str, pattern: str) -> str:
    """Say the language that a file's name gives, or ""."""
    found = re.search(pattern, name) if pattern else None
    return (found[1] or "") if found else ""


def place(file: File, number: int) -> dict[str, Any]:
    """Give what is said of a record whose file says nothing: it stands alone."""
    where = f"{file.name}:{number}"
    record = {"source": file.name, "group": where, "place": where}
    split = split_of(file.name)
    return record | {"split": split} if split else record


def lines(file: File) -> Iterator[Line]:
    """Yield the lines of UTF-8, or of UTF-16 with a byte order mark; memory stays bounded.

    After the last one that can be unpacked comes what is left of it, "truncated".
    """
    with file.open() as stream:
        for number, (raw, reason) in enumerate(_split(_utf8(_chunks(stream))), 1):
            yield _line(number, raw, reason)


def text_of(file: File) -> tuple[str, str]:
    """Read a file as one text: the text, and the reason if it is bad ("" or as of `Line`)."""
    pieces: list[bytes] = []
    reason, size = "", 0
    with file.open() as stream:
        for chunk in _utf8(_chunks(stream)):
            if isinstance(chunk, Damaged):
                reason = "truncated"
                break
            pieces.append(chunk)
            size += len(chunk)
            if size > MAX_TEXT:
                pieces, reason = pieces[:1], "text_too_long"
                break
    _, text, reason = _line(0, b"".join(pieces), reason)
    return text.replace("\r\n", "\n"), reason


def _chunks(stream: BinaryIO) -> Iterator[bytes | Damaged]:
    """Yield bytes to the end of what can be unpacked, and last the damage if there is any."""
    try:
        while chunk := stream.read1(CHUNK):  # type: ignore[attr-defined]
            yield chunk
    except Damaged as damage:
        yield damage


def _utf8(chunks: Iterator[bytes | Damaged]) -> Iterator[bytes | Damaged]:
    """Cut a byte order mark; UTF-16 becomes UTF-8, and what is wrong in it wrong UTF-8."""
    first = next(chunks, b"")
    if isinstance(first, Damaged):
        yield first
        return
    encoding = UTF16.get(first[:2])
    if not encoding:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    yield decoder.decode(first[2:]).encode("utf-8", "surrogatepass")
    for chunk in chunks:
        if isinstance(chunk, Damaged):
            yield chunk
            return
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:
        yield b"\xff"  # half a character


def _split(chunks: Iterator[bytes | Damaged]) -> Iterator[tuple[bytes, str]]:
    """Yield lines and what is wrong with them; of one longer than MAX_LINE its beginning."""
    begun, wrong = b"", ""
    for chunk in chunks:
        if isinstance(chunk, Damaged):
            yield begun, "truncated"
            return
        *ended, begun = (begun + chunk).split(b"\n")
        for line in ended:
            yield line, wrong or ("line_too_long" if len(line) > MAX_LINE else "")
            wrong = ""
        if wrong or len(begun) > MAX_LINE:
            begun, wrong = begun[: 4 * SHOWN], "line_too_long"
    if begun:
        yield begun, wrong


def _line(number: int, raw: bytes, reason: str) -> Line:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text, reason = raw.decode(errors="replace"), reason or "not_utf8"
    if "\0" in text:
        text, reason = text.replace("\0", "\ufffd"), reason or "nul_bytes"
    if reason in ("line_too_long", "text_too_long"):
        text = text[:SHOWN]
    return Line(number, text.removesuffix("\r"), reason)
