import functools
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from steps.core.entry import StepError
from steps.core.params import Source
from steps.fetch import fetch
from steps.sources import pypi, tray


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


def test_a_link_in_a_folder_is_left_out_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "raw" / "real").write_text("r")
    (tmp_path / "raw" / "link").symlink_to(tmp_path / "secret")
    fetch(source("path", tmp_path / "raw"), tmp_path / "out")
    assert names(tmp_path / "out") == ["real"]
    assert "left out 1 links" in capsys.readouterr().err


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


def test_a_member_that_climbs_out_is_refused(tmp_path: Path, index: Path) -> None:
    archive = sdist(index, {"../../escaped.rst": b"x"})
    with pytest.raises(StepError, match="climbs out"):
        fetch(source("pypi", pin(tmp_path, archive)), tmp_path / "out")
    assert not (tmp_path / "escaped.rst").exists()


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
    assert "left out 3 links" in capsys.readouterr().err


def test_an_archive_without_end_is_stopped(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tray, "MAX_BYTES", 1000)
    archive = sdist(index, {"zeros": bytes(5000)})
    with pytest.raises(StepError, match="over 1000 bytes"):
        fetch(source("pypi", pin(tmp_path, archive)), tmp_path / "out")


def test_an_index_is_asked_over_http_and_a_dead_one_is_passed_by(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = sdist(index, {"a.rst": b"text"})
    (index / "simple" / "field").mkdir(parents=True)
    link = f'<a href="../../{archive.name}">{archive.name}</a>'
    (index / "simple" / "field" / "index.html").write_text(f"<!DOCTYPE html><body>{link}</body>")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=index)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
        url = f"http://127.0.0.1:{server.server_port}/simple"
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", url)
        fetch(source("pypi", pin(tmp_path, archive), "*.rst"), tmp_path / "out")
        server.shutdown()
    assert names(tmp_path / "out") == ["field-1.0/a.rst"]


def test_pip_settings_prefer_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://a.example/simple https://b.example/simple")
    settings = pypi.pip_settings()
    assert settings["extra-index-url"] == ["https://a.example/simple", "https://b.example/simple"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 of our own on the loopback, with three keys."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="field")
    for key in ("corpus/a.txt", "corpus/deep/b.txt", "corpus2/c.txt"):
        client.put_object(Bucket="field", Key=key, Body=key.encode())
    client.close()
    yield "field"
    server.stop()


def test_an_s3_prefix_is_copied_and_a_missing_one_named(tmp_path: Path, bucket: str) -> None:
    fetch(source("s3", f"s3://{bucket}/corpus"), tmp_path / "out")
    assert names(tmp_path / "out") == ["a.txt", "deep/b.txt"]
    assert (tmp_path / "out/deep/b.txt").read_text() == "corpus/deep/b.txt"
    fetch(source("s3", f"s3://{bucket}/corpus2/c.txt"), tmp_path / "one")
    assert names(tmp_path / "one") == ["c.txt"]
    with pytest.raises(StepError, match="nothing under s3://field/nowhere"):
        fetch(source("s3", f"s3://{bucket}/nowhere"), tmp_path / "none")
    with pytest.raises(StepError, match=r"cannot read s3://other/x: .*NoSuchBucket"):
        fetch(source("s3", "s3://other/x"), tmp_path / "none")


def test_a_hub_repository_must_be_pinned_to_a_commit(tmp_path: Path) -> None:
    (tmp_path / "hub.txt").write_text("org/model@main\n")
    with pytest.raises(StepError, match="40 hex digits of a commit"):
        fetch(source("hub", tmp_path / "hub.txt"), tmp_path / "out")
