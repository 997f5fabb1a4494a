"""What is under an S3 prefix as a source: streamed to disk, and gone on with where it breaks off.

A busy S3 asks for patience (503 SlowDown). botocore's `standard` and `adaptive` retries have a
quota that a long storm uses up, its `legacy` ones no longest wait, and none of them mends a body
that breaks off. So they are off here, and `Bucket.patiently` is the one loop for all of that.
"""

import hashlib
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, TypeVar

from steps.core.entry import StepError, TryAgain
from steps.core.progress import Bar
from steps.sources.tray import CHUNK, THREADS, Tray, in_threads

TRIES = 20  # in a row without a byte won, over a minute; AWS_MAX_ATTEMPTS has its say
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, SAID_FROM_SECONDS = 0.1, 10.0, 5.0
SPOILT = "FlexibleChecksumError"
PASSING = {408, 429, 500, 502, 503, 504}
MD5 = re.compile(r'"?([0-9a-f]{32})"?')  # where an object was put in parts its ETag has a dash
ADVICE = {
    "NoSuchBucket": "{code} at {at}; mend sources.*.path in params.yaml, or AWS_ENDPOINT_URL",
    "NoCredentialsError": "found no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
    " or AWS_PROFILE",
    "InvalidObjectState": "it lies in an archive class; restore it first, or leave it out by"
    " `include`",
    "NoSuchKey": "it went while it was fetched; run again",
    "PreconditionFailed": "it changed while it was fetched; run again",
    "EndpointConnectionError": "nothing answers at {at} in {tries} tries; mend AWS_ENDPOINT_URL, or"
    " check the network",
    "passing": "{code} from {at} still after {tries} tries ({error}); run again later or raise"
    " AWS_MAX_ATTEMPTS, and see that AWS_ENDPOINT_URL is an S3",
    "refused": "{code} with these credentials; expected the rights s3:ListBucket and s3:GetObject,"
    " mend AWS_ACCESS_KEY_ID and its secret or ask the bucket's owner",
    "other": "{error}; check sources.*.path in params.yaml and your AWS_* settings",
}
T = TypeVar("T")


class Found(NamedTuple):
    """One object, as the listing has it; `name` is what is below the prefix."""

    name: str
    key: str
    etag: str
    size: int


def fetch_s3(path: str, tray: Tray) -> None:
    """Copy what is under s3://bucket/prefix; AWS_ENDPOINT_URL and the usual AWS settings hold."""
    name, _, prefix = path.removeprefix("s3://").partition("/")
    if not path.startswith("s3://") or not name:
        raise StepError(f"{path!r} is no S3 address; expected s3://bucket/prefix")
    bucket = Bucket(path, name)
    found = list(bucket.list(prefix.rstrip("/")))
    if not found:
        at = bucket.client.meta.endpoint_url
        raise StepError(f"nothing under {path} at {at}; mend sources.*.path in params.yaml")
    wanted = [(item, target) for item in found if (target := tray.target(item.name))]
    chunks = sum(-(-item.size // CHUNK) for item, _ in wanted)
    with Bar(f"fetch {len(wanted)} objects, chunks of 1 MiB", chunks) as bar:
        for _ in in_threads(lambda pair: bucket.save(pair[0], tray, pair[1], bar), wanted):
            pass


class Bucket:
    """A bucket that is asked again for what does not come; each error is one line."""

    def __init__(self, path: str, name: str) -> None:
        import boto3
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self.name = name
        self.failure: BaseException | None = None  # of one object: the others stop too
        self.won = 0.0  # when S3 last gave something, time.monotonic()
        once = {"retries": {"total_max_attempts": 1}, "max_pool_connections": THREADS}
        try:
            core = botocore.session.get_session()
            self.tries: int = core.get_config_variable("max_attempts") or TRIES
            session = boto3.Session(botocore_session=core)
            self.client = session.client("s3", config=Config(**once, connect_timeout=10))
        except (BotoCoreError, ValueError) as error:
            raise StepError(f"cannot read {path}: {error}; check your AWS_* settings") from None

    def list(self, prefix: str) -> Iterator[Found]:
        """Yield the objects below the prefix; one of that very name is one file."""
        asked = {"Bucket": self.name, "Prefix": prefix}
        while True:
            page = self.patiently(prefix, partial(self.client.list_objects_v2, **asked))
            for item in page.get("Contents", []):
                key: str = item["Key"]
                same = key == prefix
                if not key.endswith("/") and (same or not prefix or key.startswith(f"{prefix}/")):
                    name = PurePosixPath(key).name if same else key[len(prefix) :].lstrip("/")
                    yield Found(name, key, item.get("ETag", ""), item["Size"])
            if not page.get("NextContinuationToken"):
                return
            asked = asked | {"ContinuationToken": page["NextContinuationToken"]}

    def save(self, item: Found, tray: Tray, target: Path, bar: Bar) -> None:
        """Write one object to disk, from as many bodies as it takes; an error stops all others."""
        try:
            with tray.create(target) as out:
                body = Body(self, item, out, tray, bar)
                while out.tell() < item.size and not self.patiently(item.key, body.go_on):
                    pass
        except BaseException as error:
            self.failure = error
            raise

    def patiently(self, key: str, work: Callable[[], T]) -> T:
        """Do it again where that may help, ever more slowly; StepError where it does not.

        In a storm some requests get through: none is given up while others do.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        count, began = 0, time.monotonic()
        while True:
            try:
                done = work()
                self.won = time.monotonic()
                return done
            except (BotoCoreError, ClientError) as error:
                count += 1
                if count >= self.tries and self.won > began and _code(error) != SPOILT:
                    count, began = self.tries // 2, time.monotonic()
                if self.failure or count >= self.tries or not _passes(error):
                    raise self.failure or self._explain(key, error) from None
                self._wait(key, count, error)

    def _wait(self, key: str, count: int, error: Exception) -> None:
        longest = min(FIRST_WAIT_SECONDS * 2 ** min(count - 1, 9), LONGEST_WAIT_SECONDS)
        if longest > SAID_FROM_SECONDS:
            said = f"{_code(error)}; try {count + 1} of {self.tries} follows"
            print(f"s3://{self.name}/{key}: {said}", file=sys.stderr, flush=True)
        time.sleep(random.uniform(longest / 2, longest))

    def _explain(self, key: str, error: Exception) -> StepError:
        code, at = _code(error), self.client.meta.endpoint_url
        refused = _status(error) in (401, 403)
        other = "refused" if refused else "passing" if _passes(error) else "other"
        advice = ADVICE[code if code in ADVICE else other]
        why = _response(error).get("Error", {}).get("Message") or error
        said = advice.format(code=code, at=at, tries=self.tries, error=why)
        kind = TryAgain if _passes(error) else StepError
        return kind(f"cannot read s3://{self.name}/{key}: {said}")


class Body:
    """One object on its way to disk, checked by its size, and by its ETag where that is its MD5."""

    def __init__(self, bucket: Bucket, item: Found, out: IO[bytes], tray: Tray, bar: Bar) -> None:
        self.bucket, self.item, self.out, self.tray, self.bar = bucket, item, out, tray, bar
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.most = 0

    def go_on(self) -> bool:
        """Ask for what is missing and write it; False where more than ever came, but not all."""
        from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

        start = self.out.tell()
        part = {"Range": f"bytes={start}-"} if start else {}
        same = {"IfMatch": self.item.etag} if self.item.etag else {}
        asked = {"Bucket": self.bucket.name, "Key": self.item.key, **same, **part}
        answer = self.bucket.client.get_object(**asked)
        try:
            if start and "ContentRange" not in answer:
                self._begin_again()
            self._write(answer["Body"])
            if wrong := self._wrong(answer):
                raise FlexibleChecksumError(error_msg=wrong)
        except FlexibleChecksumError:
            self._begin_again()
            raise
        except (HTTPClientError, IncompleteReadError):
            if self.out.tell() <= self.most:
                raise
            self.most = self.out.tell()
            return False
        return True

    def _write(self, body: Any) -> None:
        while chunk := body.read(CHUNK):
            if self.bucket.failure:
                raise self.bucket.failure
            self.tray.take(len(chunk))
            self.out.write(chunk)
            self.md5.update(chunk)
            self.bar.advance()

    def _wrong(self, answer: dict[str, Any]) -> str:
        """Say what does not fit. Where a key of the store's or the user's encrypts, the ETag is no
        MD5; nor in a directory bucket (S3 user guide, "Checking object integrity")."""
        if self.out.tell() != self.item.size:
            return f"{self.out.tell()} bytes came, expected {self.item.size}"
        plain = answer.get("ServerSideEncryption", "AES256") == "AES256"
        plain = plain and "SSECustomerAlgorithm" not in answer
        expected = MD5.fullmatch(self.item.etag)
        if not expected or not plain or self.bucket.name.endswith("--x-s3"):
            return ""
        found = self.md5.hexdigest()
        return "" if found == expected[1] else f"the MD5 is {found}, its ETag {expected[1]}"

    def _begin_again(self) -> None:
        self.out.seek(0)
        self.out.truncate()
        self.md5 = hashlib.md5(usedforsecurity=False)


def _code(error: Exception) -> str:
    """Give S3's own word for the error, or the name of what botocore raised."""
    response = _response(error)
    return str(response.get("Error", {}).get("Code") or type(error).__name__)


def _status(error: Exception) -> int:
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _response(error: Exception) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    return dict(error.response) if isinstance(error, ClientError) else {}


def _passes(error: Exception) -> bool:
    """Say whether it may be otherwise a moment later."""
    from botocore import exceptions as known

    if isinstance(error, known.ClientError):
        return _status(error) in PASSING or _code(error) in ("RequestTimeout", "SlowDown")
    broken = (known.HTTPClientError, known.ConnectionError, known.IncompleteReadError)
    passing = isinstance(error, (*broken, known.FlexibleChecksumError))
    return passing and not isinstance(error, known.SSLError)
