"""An S3 of one's own, and a storm before it: sources from there, and a DVC remote there."""

import gzip
import http.client
import os
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from steps import readers
from steps.core.entry import StepError, TryAgain
from steps.core.files import digest
from steps.core.params import Source
from steps.fetch import fetch
from steps.readers.files import files

BIN = Path(sys.executable).parent
ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"
Answer = tuple[int, dict[str, str], bytes]


class Storm(ThreadingHTTPServer):
    """A proxy before S3: of each request it refuses the first `refused` of every `refused` + 1.

    A body that is asked for by a line with `cut` breaks off halfway, once. `weather(line, nth,
    answer)` may change an answer. A line is `METHOD /path?query`; `ranges` are those for a part.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream, self.refused, self.cut, self.deaf_to_ranges = upstream, 0, "none", False
        self.weather: Callable[[str, int, Answer], Answer] = lambda line, nth, answer: answer
        self.seen: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.refusals, self.cuts = 0, 0
        self.ranges: list[str] = []
        super().__init__(("127.0.0.1", 0), Gale)


class Gale(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Storm

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, data = self._reply(f"{self.command} {self.path}", body)
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
            self.close_connection |= len(data) < int(headers.get("Content-Length", 0))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def _reply(self, line: str, body: bytes) -> Answer:
        storm = self.server
        storm.seen[line] += 1
        if "Range" in self.headers:
            storm.ranges.append(line)
        if storm.seen[line] % (storm.refused + 1):
            storm.refusals += 1
            return 503, {}, ERROR.format("SlowDown", "Please reduce your request rate.").encode()
        storm.passed[line] += 1
        nth = storm.passed[line]
        status, headers, data = storm.weather(line, nth, self._ask_upstream(body))
        if storm.cut in line and nth == 1 and len(data) > 1:
            storm.cuts += 1
            data = data[: len(data) // 2]
        return status, headers, data

    def _ask_upstream(self, body: bytes) -> Answer:
        deaf = {"range"} if self.server.deaf_to_ranges else set()
        headers = {k: v for k, v in self.headers.items() if k.lower() not in deaf}
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.request(self.command, self.path, body or None, headers)
        with upstream.getresponse() as answer:
            data = answer.read()
            hops = {"connection", "transfer-encoding"}
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in hops}
        upstream.close()
        return answer.status, kept, data

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 on the loopback that has the bucket `outplant`; no one's own settings."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        (tmp_path / "aws").touch()
        monkeypatch.setenv(name, str(tmp_path / "aws"))
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()  # its objects outlive a server
    client = boto3.client("s3")
    client.create_bucket(Bucket="outplant")
    yield client
    client.close()
    server.stop()


@pytest.fixture
def storm(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storm]:
    """A storm before that S3, still calm; who now asks for S3 asks it."""
    with Storm(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


@pytest.fixture
def corpus(bucket: Any) -> dict[str, bytes]:
    """Twelve objects under corpus/, one of them of several chunks, one empty."""
    made = {f"deep/{n}.txt": f"text {n}\n".encode() * 1000 for n in range(10)}
    made |= {"large.bin": bytes(range(256)) * 14_000, "empty.txt": b""}
    for name, data in made.items():
        bucket.put_object(Bucket="outplant", Key=f"corpus/{name}", Body=data)
    return made


def source(path: str, *include: str) -> Source:
    return Source(kind="s3", path=path, include=list(include) or ["*"], strip=0)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_prefix_is_copied_and_its_neighbour_is_not(
    tmp_path: Path, bucket: Any, corpus: dict[str, bytes]
) -> None:
    bucket.put_object(Bucket="outplant", Key="corpus2/c.txt", Body=b"c")
    fetch(source("s3://outplant/corpus"), tmp_path / "out")
    assert contents(tmp_path / "out") == corpus
    fetch(source("s3://outplant/corpus2/c.txt"), tmp_path / "one")
    assert contents(tmp_path / "one") == {"c.txt": b"c"}
    fetch(source("s3://outplant", "corpus*/[ce]*.txt"), tmp_path / "all")
    assert contents(tmp_path / "all") == {"corpus/empty.txt": b"", "corpus2/c.txt": b"c"}


def test_a_listing_of_many_pages_is_read_to_its_end(
    tmp_path: Path, storm: Storm, corpus: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    storm.refused = 1
    fetch(source("s3://outplant/corpus"), tmp_path / "out")
    assert contents(tmp_path / "out") == corpus
    assert len([line for line in storm.seen if "list-type=2" in line]) == 3


def spoil_once(line: str, nth: int, answer: Answer) -> Answer:
    status, headers, data = answer
    return (status, headers, data[:-1] + b"?" if "large" in line and nth == 1 else data)


def drop_checksums(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if "checksum" not in name.lower()}


@pytest.mark.parametrize("deaf_to_ranges", [False, True])
def test_a_storm_and_a_body_cut_short_change_no_byte(
    tmp_path: Path, storm: Storm, corpus: dict[str, bytes], deaf_to_ranges: bool
) -> None:
    storm.refused, storm.cut, storm.deaf_to_ranges = 2, "large", deaf_to_ranges
    fetch(source("s3://outplant/corpus"), tmp_path / "out")
    assert contents(tmp_path / "out") == corpus
    assert storm.refusals == 2 * (len(corpus) + 1)  # a listing, no empty object, one twice
    assert {line.split("?")[0] for line in storm.ranges} == {"GET /outplant/corpus/large.bin"}


def test_a_corpus_on_s3_is_fetched_and_read(tmp_path: Path, bucket: Any) -> None:
    lines = b'{"text": "one line of it"}\n{"text": "and another"}\n'
    bucket.put_object(Bucket="outplant", Key="corpus/a.jsonl.gz", Body=gzip.compress(lines))
    fetch(source("s3://outplant/corpus"), tmp_path / "out")
    reader = readers.load("jsonl")
    found = [
        record["text"]
        for file in files(tmp_path / "out", reader.SUFFIXES)
        for record in reader.read(file, reader.Options())
    ]
    assert found == ["one line of it", "and another"]


@pytest.mark.parametrize("checksums", [True, False])
def test_a_spoilt_body_is_fetched_again_and_refused_in_the_end(
    tmp_path: Path,
    storm: Storm,
    corpus: dict[str, bytes],
    checksums: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def weather(line: str, nth: int, answer: Answer) -> Answer:
        status, headers, data = spoil_once(line, nth, answer)
        return status, headers if checksums else drop_checksums(headers), data

    storm.weather = weather
    fetch(source("s3://outplant/corpus"), tmp_path / "out")
    assert contents(tmp_path / "out") == corpus
    storm.weather = lambda line, nth, answer: weather(line, 1, answer)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(StepError, match=r"corpus/large\.bin: .*after 2 tries .*(MD5|checksum)"):
        fetch(source("s3://outplant/corpus"), tmp_path / "out")


def always(status: int, code: str, among: str = "/outplant") -> Callable[..., Answer]:
    """Weather that answers one error to all requests whose line has `among`."""

    def weather(line: str, nth: int, answer: Answer) -> Answer:
        return (status, {}, ERROR.format(code, "no").encode()) if among in line else answer

    return weather


@pytest.mark.parametrize(
    ("weather", "said"),
    [
        (always(503, "SlowDown"), "SlowDown from http.* still after 3 tries .*run again later"),
        (always(503, "SlowDown", "deep/7"), r"deep/7\.txt: SlowDown from .* still after 3 tries"),
        (always(403, "AccessDenied"), "AccessDenied with these credentials; expected .*ListBucket"),
        (always(403, "AccessDenied", "large"), r"large\.bin: AccessDenied with these credentials"),
        (always(403, "InvalidObjectState", "large"), "archive class; restore it"),
        (always(412, "PreconditionFailed", "large"), "changed while it was fetched; run again"),
        (lambda *_: (200, {}, b"<!doctype html>"), "500 from .*AWS_ENDPOINT_URL is an S3"),
    ],
)
def test_what_s3_refuses_is_said_in_one_line(
    tmp_path: Path,
    storm: Storm,
    corpus: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    weather: Any,
    said: str,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    storm.weather = weather
    with pytest.raises(StepError, match=f"^cannot read s3://outplant/.*{said}"):
        fetch(source("s3://outplant/corpus"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "settings", "said"),
    [
        ("s3://outplant/none", {}, "nothing under s3://outplant/none at http.*; mend sources"),
        ("s3://other/x", {}, "cannot read s3://other/x: NoSuchBucket .*mend sources"),
        ("outplant/x", {}, "is no S3 address; expected s3://bucket/prefix"),
        ("s3://no bucket/x", {}, "(?s)cannot read s3://no bucket/x: .*check sources"),
        ("s3://outplant/x", {"AWS_ACCESS_KEY_ID": ""}, "no credentials; set AWS_ACCESS_KEY_ID"),
        ("s3://outplant/x", {"AWS_PROFILE": "none"}, r"profile \(none\) .*check your AWS_"),
        ("s3://outplant/x", {"AWS_ENDPOINT_URL": "localhost:1"}, "Invalid endpoint.*check your"),
        ("s3://outplant/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "nothing answers at http"),
        ("s3://outplant/x", {"AWS_MAX_ATTEMPTS": "many"}, "'many'.*check your AWS_"),
    ],
)
def test_what_is_wrong_with_the_settings_is_said_in_one_line(
    tmp_path: Path,
    bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    settings: dict[str, str],
    said: str,
) -> None:
    for name, value in ({"AWS_MAX_ATTEMPTS": "2"} | settings).items():
        monkeypatch.setenv(name, value)
    if settings.get("AWS_ACCESS_KEY_ID") == "":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StepError, match=said) as found:
        fetch(source(path), tmp_path / "out")
    assert isinstance(found.value, TryAgain) == said.startswith("nothing answers")


def test_an_object_that_changes_while_it_is_fetched_is_not_mixed(
    tmp_path: Path, bucket: Any, storm: Storm, corpus: dict[str, bytes]
) -> None:
    def weather(line: str, nth: int, answer: Answer) -> Answer:
        if "large" in line and nth == 1:
            bucket.put_object(Bucket="outplant", Key="corpus/large.bin", Body=bytes(9))
        return answer

    storm.weather, storm.cut = weather, "large"
    with pytest.raises(StepError, match=r"large\.bin: it changed while it was fetched"):
        fetch(source("s3://outplant/corpus"), tmp_path / "out")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("x/a", "x/a/b"), "both .*a file and a folder"),
        (("x/a//b", "x/a/b"), "both a/b"),
        (("x/../../b",), "climbs out"),
        ((f"x/{'n' * 300}",), "cannot write n+: File name too long"),
    ],
)
def test_keys_that_make_no_files_are_said(
    tmp_path: Path, bucket: Any, keys: tuple[str, ...], said: str
) -> None:
    for key in keys:
        bucket.put_object(Bucket="outplant", Key=key, Body=b"text")
    with pytest.raises(StepError, match=said):
        fetch(source("s3://outplant/x"), tmp_path / "out")


def call(folder: Path, *command: str) -> str:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env=environment, check=False, **said)
    assert done.returncode == 0, done.stdout
    return done.stdout


def project(folder: Path, stage: dict) -> Path:
    folder.mkdir()
    call(folder, "git", "init", "--quiet")
    call(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    return folder


def commit(folder: Path) -> None:
    call(folder, "git", "add", ".")
    call(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "made")


@pytest.mark.slow
def test_what_one_clone_pushes_another_pulls_byte_for_byte_through_a_storm(
    tmp_path: Path, storm: Storm
) -> None:
    """DVC's and s3fs's own retries survive 2 refusals of 3 too; one of 2 is quicker to wait for."""
    script = "from pathlib import Path; p = Path('out'); p.mkdir(); "
    script += "[(p / str(n)).write_bytes(bytes(n * 1000)) for n in range(5)]"
    here = project(tmp_path / "here", {"cmd": f'python -c "{script}"', "outs": ["out"]})
    call(here, "dvc", "remote", "add", "--default", "team", "s3://outplant/cache")
    call(here, "dvc", "repro")
    storm.refused = 1
    call(here, "dvc", "push", "--run-cache")
    commit(here)
    there = tmp_path / "there"
    call(tmp_path, "git", "clone", "--quiet", str(here), str(there))
    storm.cut = "GET /outplant/cache/files/md5"
    call(there, "dvc", "pull", "--run-cache")
    assert len(list((there / "out").iterdir())) == 5
    assert digest(there / "out") == digest(here / "out")
    assert "up to date" in call(there, "dvc", "status")
    assert storm.refusals > 20
    assert storm.cuts == 5


def test_a_stage_is_run_again_when_its_source_on_s3_changes(tmp_path: Path, bucket: Any) -> None:
    script = "import boto3, os; from pathlib import Path; s3 = boto3.client('s3'); "
    script += "found = s3.list_objects_v2(Bucket='outplant', Prefix='field/')['Contents']; "
    script += "Path('names.txt').write_text(' '.join(o['Key'] for o in found))"
    bucket.put_object(Bucket="outplant", Key="field/a.txt", Body=b"one")
    stage = {
        "cmd": f'python -c "{script}"',
        "deps": ["s3://outplant/field"],
        "outs": ["names.txt"],
    }
    here = project(tmp_path / "here", stage)
    call(here, "dvc", "repro")
    assert (here / "names.txt").read_text() == "field/a.txt"
    assert "up to date" in call(here, "dvc", "status")
    bucket.put_object(Bucket="outplant", Key="field/b.txt", Body=b"two")
    call(here, "dvc", "repro")
    assert (here / "names.txt").read_text() == "field/a.txt field/b.txt"
