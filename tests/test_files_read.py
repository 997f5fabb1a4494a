import gzip
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from steps.core.entry import StepError
from steps.readers import archives
from steps.readers import files as reading
from steps.readers.files import File, files, lines, split_of, text_of

TEXT = b"one\ntwo\r\n\nf\xc3\xbcnf\n"
READ = ["one", "two", "", "fünf"]


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def only(root: Path) -> File:
    (file,) = files(root, ())
    return file


def texts(file: File) -> list[str]:
    return [line.text for line in lines(file)]


def fill(root: Path) -> None:
    """Lay the same text out in every way in which people ship it."""
    (root / "plain.txt").write_bytes(TEXT)
    (root / "one.txt.gz").write_bytes(gzip.compress(TEXT))
    (root / "two.txt.gz").write_bytes(gzip.compress(TEXT[:4]) + gzip.compress(TEXT[4:]))
    (root / "three.txt.zst").write_bytes(zstd(TEXT))
    inside = {"./d/b.txt": TEXT, "a.txt": TEXT, "c.txt.gz": gzip.compress(TEXT), "e.md": b"no"}
    zipped(root / "z.zip", inside | {"__MACOSX/._a.txt": b"\0"})
    tar(root / "t.tar", inside)
    tar(root / "u.tar.gz", inside, "w:gz")
    tar(root / "v.tgz", inside, "w:gz")
    (root / "w.tar.zst").write_bytes(zstd((root / "t.tar").read_bytes()))


def test_a_text_reads_the_same_however_it_is_packed(tmp_path: Path) -> None:
    fill(tmp_path)
    found = files(tmp_path, (".txt",))
    packs = ("t.tar", "u.tar.gz", "v.tgz", "w.tar.zst", "z.zip")
    singles = {"plain.txt", "one.txt", "two.txt", "three.txt"}
    inside = {f"{pack}/{name}" for pack in packs for name in ("a.txt", "c.txt", "d/b.txt")}
    assert {file.name for file in found} == singles | inside
    for file in [*found, *reversed(found), *pickle.loads(pickle.dumps(found))]:
        assert texts(file) == READ, file.name
        assert text_of(file) == ("one\ntwo\n\nfünf\n", "")
        with file.path() as path:
            assert path.read_bytes() == TEXT
            assert path.name == file.name.rsplit("/", 1)[-1]


def test_files_are_sorted_and_a_root_may_be_one_file(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.TXT", "c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(TEXT)
    assert [file.name for file in files(tmp_path, (".txt",))] == ["a/z.TXT", "b.txt"]
    assert only(tmp_path / "b.txt").name == "b.txt"
    with pytest.raises(StepError, match=r"no file or folder .*gone"):
        files(tmp_path / "gone", ())


@pytest.mark.parametrize(
    "name", ["../x.txt", "/x.txt", "C:x.txt", "a/../../x.txt", "a\\..\\x.txt", "a/.."]
)
@pytest.mark.parametrize("end", [".zip", ".tar", ".tar.gz"])
def test_a_member_that_climbs_out_is_refused_by_name(tmp_path: Path, name: str, end: str) -> None:
    path = tmp_path / f"pack{end}"
    if end == ".zip":
        zipped(path, {"ok.txt": b"", name: b"x"})
    else:
        tar(path, {"ok.txt": b"", name: b"x"}, "w:gz" if end == ".tar.gz" else "w")
    with pytest.raises(StepError, match=r"pack.*climbs out") as error:
        files(tmp_path, ())
    assert repr(name) in str(error.value)


def test_links_devices_and_inner_archives_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = zipped(tmp_path / "inner.zip", {"a.txt": b"x"}).read_bytes()
    (tmp_path / "inner.zip").unlink()
    with tarfile.open(tmp_path / "pack.tar", "w") as archive:
        for name, form in (("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)):
            item = tarfile.TarInfo(name)
            item.type, item.linkname = form, "/etc/passwd"
            archive.addfile(item)
        for name, data in (("inner.zip", inner), ("a.txt", b"x")):
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "other.7z").write_bytes(b"7z")
    assert [file.name for file in files(tmp_path, ())] == ["pack.tar/a.txt"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "left out 6" in said
    assert "other.7z" in said


def test_members_of_one_compressed_tar_can_be_read_in_turns(tmp_path: Path) -> None:
    inside = {f"{n}.txt": b"".join(b"%d %d\n" % (n, i) for i in range(5000)) for n in range(4)}
    tar(tmp_path / "pack.tar.gz", inside, "w:gz")
    found = files(tmp_path, ())
    pairs = zip(lines(found[2]), lines(found[1]), lines(found[3]), strict=True)
    assert [tuple(line.text for line in row) for row in pairs] == [
        (f"2 {i}", f"1 {i}", f"3 {i}") for i in range(5000)
    ]
    begun = lines(found[0])
    next(begun)
    begun.close()
    assert texts(found[1])[-1] == "1 4999"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt.gz", gzip.compress(os.urandom(400) + b"\nand more" * 9)[:-12]),
        ("a.txt.gz", b"this is no gzip"),
        ("a.txt.gz", gzip.compress(b"text\n", mtime=0) + b"garbage"),
        ("a.txt.zst", zstd(b"text\n" * 99)[:-3]),
        ("a.txt.zst", b"this is no zstd"),
    ],
)
def test_a_damaged_compressed_file_gives_a_bad_line_and_names_itself(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    file = only(tmp_path)
    assert list(lines(file))[-1].reason == "truncated"
    assert text_of(file)[1] == "truncated"
    how = {"gz": "gzip", "zst": "zstd"}[name.rsplit(".", 1)[1]]
    said = rf"^a\.txt is no whole {how} file .* fetch it again"
    with pytest.raises(StepError, match=said), file.path():
        pass


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", b"this is no zip"),
        ("a.zip", b"PK\x03\x04 cut"),
        ("a.tar", b"this is no tar" * 99),
        ("a.tar.gz", b"this is no gzip"),
        ("a.tar.gz", gzip.compress(b"neither a tar" * 99, mtime=0)),
        ("a.tar.zst", b""),
        ("a.zip", b""),
    ],
)
def test_what_is_no_archive_is_one_line_that_names_it(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(StepError, match=rf"^{name} is no whole (zip|tar|gzip|zstd) file"):
        files(tmp_path, ())


@pytest.mark.parametrize("end", [".zip", ".tar", ".tar.gz"])
def test_a_truncated_archive_is_one_line_that_names_it(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"a{end}"
    inside = {"a.txt": os.urandom(5000), "b.txt": os.urandom(9000)}
    if end == ".zip":
        zipped(path, inside)
    else:
        tar(path, inside, "w:gz" if end == ".tar.gz" else "w")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(StepError, match=f"^a{end} is no whole"):
        files(tmp_path, ())


@pytest.mark.parametrize(("field", "at", "value"), [("method", 10, 9), ("version needed", 6, 99)])
def test_a_zip_packed_in_another_way_is_one_line(
    tmp_path: Path, field: str, at: int, value: int
) -> None:
    path = tmp_path / "a.zip"
    zipped(path, {"a.txt": b"text\n" * 99})
    data = bytearray(path.read_bytes())
    listed, own = data.index(b"PK\x01\x02"), data.index(b"PK\x03\x04")
    data[listed + at] = data[own + at - 2] = value
    path.write_bytes(data)
    with pytest.raises(StepError, match=r"^a\.zip.* is packed in a way .*; pack it again"):
        list(lines(only(tmp_path)))


def test_a_zip_member_with_a_wrong_checksum_gives_a_bad_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", b"some text that is stored")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"some text", b"same text"))
    assert [line.reason for line in lines(only(tmp_path))] == ["truncated"]


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.txt": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in its list of members
    path.write_bytes(data)
    with pytest.raises(StepError, match=r"a\.zip: 'a\.txt' is encrypted"):
        files(tmp_path, ())


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.zip", "a.tar.gz", "b.zip"])
def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(archives, "GIANT", 1 << 20)
    monkeypatch.setattr(archives, "RATIO", 100)
    data = bytes(4 << 20)
    made = {"a.txt.gz": gzip.compress(data), "a.txt.zst": zstd(data)}
    if name == "a.zip":
        zipped(tmp_path / name, {"a.txt": data})
    elif name == "b.zip":
        zipped(tmp_path / name, {"a.txt.gz": made["a.txt.gz"]})
    elif name == "a.tar.gz":
        tar(tmp_path / name, {"a.txt": data}, "w:gz")
    else:
        (tmp_path / name).write_bytes(made[name])
    with pytest.raises(StepError, match="unpacks to more than 100 times its size"):
        list(lines(only(tmp_path)))


def test_what_merely_compresses_well_is_no_bomb(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(zstd(b"again\n" * 1_000_000))
    assert sum(1 for _ in lines(only(tmp_path))) == 1_000_000


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"\n", [("", "")]),
        (b"no end", [("no end", "")]),
        (b"\xef\xbb\xbfa\nb", [("a", ""), ("b", "")]),
        ("ä\r\nb\n".encode("utf-16"), [("ä", ""), ("b", "")]),
        ("\ufeffä\n𝄞".encode("utf-16-be"), [("ä", ""), ("𝄞", "")]),
        ("ab".encode("utf-16") + b"c", [("ab\ufffd", "not_utf8")]),
        (b"\xff\xfe\x00\xd8a\x00", [("\ufffd\ufffd\ufffda", "not_utf8")]),
        (b"good\nb\xffad\ngood", [("good", ""), ("b\ufffdad", "not_utf8"), ("good", "")]),
        (b"a\0b\nc", [("a\ufffdb", "nul_bytes"), ("c", "")]),
    ],
)
def test_lines_say_what_is_wrong_with_them(
    tmp_path: Path, data: bytes, found: list[tuple[str, str]]
) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert [(line.text, line.reason) for line in lines(only(tmp_path))] == found


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_a_line_too_long_is_one_bad_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 1000)
    monkeypatch.setattr(reading, "CHUNK", chunk)
    (tmp_path / "a.txt").write_bytes(
        b"x" * 1000 + b"\n" + "ü".encode() * 9000 + b"\nz\n" + b"y" * 1001
    )
    found = list(lines(only(tmp_path)))
    assert [line.reason for line in found] == ["", "line_too_long", "", "line_too_long"]
    assert [line.number for line in found] == [1, 2, 3, 4]
    assert (found[1].text, found[3].text) == ("ü" * 200, "y" * 200)


def test_a_text_too_long_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT", 1 << 20)
    (tmp_path / "a.txt").write_bytes(b"x" * (3 << 20))
    assert text_of(only(tmp_path)) == ("x" * 200, "text_too_long")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("data/dev.jsonl", "validation"),
        ("Test/a.txt", "test"),
        ("train-00000-of-00002.parquet", "train"),
        ("en_ewt-ud-train.conllu", "train"),
        ("pack.zip/valid/x.txt", "validation"),
        ("latest.csv", ""),
        ("test-train.csv", ""),
        ("train/test.csv", "test"),
        ("train/long/x.csv", ""),
    ],
)
def test_a_split_is_told_by_name(name: str, split: str) -> None:
    assert split_of(name) == split
