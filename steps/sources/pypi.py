"""Distributions of Python packages as a source: pinned, checked, cached, found where pip looks."""

import ast
import gzip
import hashlib
import logging
import lzma
import os
import re
import ssl
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from steps.core.entry import StepError, TryAgain
from steps.core.progress import track
from steps.sources.tray import Tray, in_threads, read_lines, say_left_out

TRIES = 3
SMALL_BYTES, MAX_RATIO = 1 << 30, 200  # unpacked, an archive over both is no documentation
UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError),  # cut short; a zip with a password, or packed in a new way
)
SHA256 = re.compile(r"[0-9a-f]{64}")


class Pin(NamedTuple):
    """One distribution: its requirement, and the sha256 of each file that will do."""

    requirement: str
    hashes: tuple[str, ...]


def fetch_pypi(path: str, tray: Tray) -> None:
    """Unpack the distributions that a file pins: lines `name==version --hash=sha256:...`."""
    pins = read_pins(path)
    missing = [pin for pin in pins if not _cached(pin)]
    if missing:
        finders = _finders()
        done = in_threads(lambda pin: _download(pin, finders), missing)
        for _ in track(done, "download", len(missing)):
            pass
    for pin in track(pins, "unpack", len(pins)):
        archive = _cached(pin)
        if archive is None:
            raise StepError(f"{pin.requirement} went from {cache()} while it was used; run again")
        unpack(archive, pin.requirement, tray)


def read_pins(path: str) -> list[Pin]:
    """Read a file of pins; StepError names the line that is not one."""
    pins = []
    for line in filter(None, read_lines(path)):
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line)
        good = all(SHA256.fullmatch(value) for value in hashes) and hashes
        if not good or not re.fullmatch(r"[A-Za-z0-9._-]+\s*==\s*[^\s;*]+", requirement):
            raise StepError(f"{path}: {line!r} is no pin; expected name==version --hash=sha256:...")
        pins.append(Pin(requirement, tuple(hashes)))
    if not pins:
        raise StepError(f"{path} has no pins; add lines name==version --hash=sha256:...")
    return pins


def cache() -> Path:
    """The folder of downloads, keyed by sha256; OUTPLANT_CACHE moves it."""
    import platformdirs

    named = os.environ.get("OUTPLANT_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("outplant", appauthor=False)


def _cached(pin: Pin) -> Path | None:
    """Find a pinned file in the cache; one that no longer has its hash is thrown away."""
    for value in pin.hashes:
        path = cache() / "pypi" / value
        if path.exists():
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == value:
                    return path
            path.unlink()
    return None


def pip_settings() -> dict[str, list[str]]:
    """What pip is configured for, environment over file and `download` over `global`."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = dict(re.findall(r"^([^=\s]+)=(['\"].*['\"])$", said, re.MULTILINE))
    settings = {}
    for section in ("global", "download", ":env:"):
        for key, value in found.items():
            if key.startswith(f"{section}."):
                settings[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value)).split()
    return settings


def _finders() -> list[Any]:
    """One finder for each place pip would look in, so that a dead index hides no living one."""
    from pip._internal.models.index import PyPI  # pip's own default has no public name
    from unearth import PackageFinder
    from unearth.auth import MultiDomainBasicAuth
    from unearth.fetchers import PyPIClient

    logging.getLogger("unearth").setLevel(logging.ERROR)  # an index that lacks a package is usual
    settings = pip_settings()
    indexes = settings.get("index-url", [PyPI.simple_url]) + settings.get("extra-index-url", [])
    links = [at for at in settings.get("find-links", []) if "://" in at or Path(at).exists()]
    if settings.get("no-index", ["0"])[0].lower() in ("1", "true", "yes", "on"):
        indexes = []
    session = PyPIClient(
        trusted_hosts=settings.get("trusted-host", []),
        verify=ssl.create_default_context(cafile=settings.get("cert", [None])[0]),
        timeout=float(settings.get("timeout", settings.get("default-timeout", ["60"]))[0]),
        follow_redirects=True,
    )
    session.auth = MultiDomainBasicAuth(index_urls=indexes)
    places = [{"find_links": [at]} for at in links] + [{"index_urls": [at]} for at in indexes]
    return [PackageFinder(session, ignore_compatibility=True, **place) for place in places]


def _download(pin: Pin, finders: list[Any]) -> None:
    """Find the file that has one of the pin's hashes and put it into the cache, checked."""
    from unearth.preparer import HTTPErrors

    failures = []
    for finder in finders:
        for _ in range(TRIES):
            try:
                matches = finder.find_matches(pin.requirement, hashes={"sha256": [*pin.hashes]})
                if matches:
                    _save(finder.session, matches[0].link, pin)
                    return
                break
            except HTTPErrors as error:
                failures.append(str(error) or type(error).__name__)
    why = f" ({failures[-1]})" if failures else ""
    raise (TryAgain if failures else StepError)(
        f"found no file of {pin.requirement} with the sha256 {pin.hashes[0][:12]}... where pip"
        f" looks{why}; check the pin, the network, and `pip config list`"
    )


def _save(session: Any, link: Any, pin: Pin) -> None:
    """Stream a file into the cache under its sha256; StepError where it is not the pinned one."""
    folder = cache() / "pypi"
    folder.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False) as out:
        made = Path(out.name)
        try:
            with session.get_stream(link.normalized) as response:
                response.raise_for_status()
                for chunk in response.iter_bytes():
                    total.update(chunk)
                    out.write(chunk)
            out.close()
            if total.hexdigest() not in pin.hashes:
                raise StepError(f"{link.filename} has the sha256 {total.hexdigest()}, expected"
                                f" {' or '.join(pin.hashes)}; do not use it")  # fmt: skip
            made.replace(folder / total.hexdigest())
        finally:
            made.unlink(missing_ok=True)


def unpack(archive: Path, name: str, tray: Tray) -> None:
    """Put the wanted members of a zip or tar archive into the tray; no links, no devices."""
    most = max(SMALL_BYTES, MAX_RATIO * archive.stat().st_size)
    total, left_out = 0, []
    try:
        for member, size, stream in _members(archive):
            total += size  # of what is not wanted too: a packed tar is read through
            if total > most:
                raise StepError(
                    f"{name} unpacks to over {most} bytes, {MAX_RATIO} times its size; refused as a"
                    " bomb, look at where it is from"
                )
            if stream is None:
                left_out.append(member)
            elif target := tray.target(member):
                tray.put(target, stream)
    except UNREADABLE as error:
        raise StepError(
            f"{name} cannot be unpacked ({error}); expected a zip or tar archive, pin another file"
        ) from None
    say_left_out(left_out)


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """Yield name, size and stream of each member; None in place of a link's or device's stream."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    yield info.filename, info.file_size, None
                elif not info.is_dir():
                    with zipped.open(info) as stream:
                        yield info.filename, info.file_size, stream
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            if not member.isdir():
                opened = packed.extractfile(member) if member.isreg() else None
                yield member.name, member.size, opened
