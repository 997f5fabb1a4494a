"""A record of promotions in PostgreSQL, and a lock that the server frees with its holder's session.

Who appends does so in the session that has the lock: where that was lost, nothing is written.
"""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines import connection
from steps.core.entry import StepError

if TYPE_CHECKING:
    from sqlalchemy import Connection

TABLE = "outplant_promotions"
SLICE_SECONDS = 1.0  # Ctrl-C is not heard while the server is waited for
LOCK_NOT_AVAILABLE = "55P03"
# A machine that vanished without a word holds nothing for long, and a quiet session is not cut off
ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
SET_ALIVE = "".join(f"SET tcp_{name} = {value};" for name, value in ALIVE.items())
# One statement, thus one transaction. Two that come first at once wait for each other
CREATE = f"""
SELECT pg_advisory_xact_lock(hashtext('{TABLE}'));
CREATE TABLE IF NOT EXISTS {TABLE} (
    task text NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    line text NOT NULL,
    PRIMARY KEY (task, number)
);
CREATE OR REPLACE FUNCTION {TABLE}_kept() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{TABLE} is append-only'; END $$;
DROP TRIGGER IF EXISTS kept ON {TABLE};
CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {TABLE}
    FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_kept();
"""
ADD = f"""
INSERT INTO {TABLE} SELECT :task, :number, :line
WHERE :number = (SELECT coalesce(max(number), 0) + 1 FROM {TABLE} WHERE task = :task)
"""
HOLDER = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = :key
"""


def serves(uri: str) -> bool:
    """Whether a URI is of a database that can hold a record."""
    return re.match(r"postgresql(\+\w+)?://", uri) is not None


class Table:
    """The task's rows of a table; `me` is what others are told who wait for the lock."""

    def __init__(self, task: str, uri: str, me: str) -> None:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            self._url = make_url(uri).set(drivername="postgresql+psycopg2")
        except (ArgumentError, ValueError):  # the latter where a port is no number
            raise StepError(
                "the URL of the record's PostgreSQL cannot be read; "
                "expected postgresql://USER:PASSWORD@HOST/DATABASE"
            ) from None
        self._task, self._me = task, me
        self._session: Connection | None = None
        place = f"postgresql://{self._url.host or ''}/{self._url.database or ''}"
        self.where = f"{TABLE} of {task} in {place}"

    def hold(self, seconds: float) -> bool:
        """Take the lock within that time; say whether it was got."""
        deadline = time.monotonic() + seconds
        with self._answered():
            if self._session is None:
                self._session = self._connect()
                self._session.exec_driver_sql(SET_ALIVE)
            while not self._locks(self._session, min(SLICE_SECONDS, deadline - time.monotonic())):
                if time.monotonic() >= deadline:
                    return False
        return True

    def release(self) -> None:
        """End the session, and the lock with it."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def holder(self) -> str:
        """Say whose session has the lock."""
        from sqlalchemy import text

        with self._answered(), self._used() as session:
            found = session.execute(text(HOLDER), {"key": self._key()}).scalar()
        return str(found).removeprefix("outplant ") if found else "another command"

    def lines(self) -> list[bytes]:
        """Return all lines, oldest first."""
        from sqlalchemy import text

        with self._answered(), self._used() as session:
            if not _exists(session):
                return []
            query = f"SELECT line FROM {TABLE} WHERE task = :task ORDER BY number"
            found = session.execute(text(query), {"task": self._task}).scalars()
            return [line.encode() for line in found]

    def add(self, number: int, line: bytes) -> None:
        """Insert the line and commit; StepError where it is not the next."""
        from sqlalchemy import text

        row = {"task": self._task, "number": number, "line": line.decode()}
        with self._answered(), self._used() as session:
            if not _exists(session):
                session.exec_driver_sql(CREATE)
            added = session.execute(text(ADD), row).rowcount
        if not added:
            raise StepError(
                f"{self.where} does not end with line {number - 1}; "
                f"`outplant history {self._task} --verify` tells what was changed"
            )

    def _locks(self, session: "Connection", seconds: float) -> bool:
        from sqlalchemy import text
        from sqlalchemy.exc import OperationalError

        session.execute(text(f"SET lock_timeout = {max(1, int(1000 * seconds))}"))
        try:
            session.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key()})
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
                raise
            return False
        session.execute(text("SET lock_timeout = 0"))
        return True

    def _key(self) -> int:
        """Return the lock's number: 63 bits of a hash, the same on every machine."""
        known = hashlib.sha256(f"{TABLE} {self._task}".encode()).digest()
        return int.from_bytes(known[:8], "big") >> 1

    def _connect(self) -> "Connection":
        from sqlalchemy import NullPool, create_engine

        told = {"application_name": f"outplant {self._me}"[:63], "connect_timeout": 5}
        try:
            engine = create_engine(
                self._url,
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",
                connect_args=ALIVE | told,
            )
        except ModuleNotFoundError:
            raise StepError(
                "a record in PostgreSQL needs psycopg2; "
                "run `pip install -c infra/constraints.txt -e '.[server]'`"
            ) from None
        return engine.connect()

    @contextmanager
    def _used(self) -> Iterator["Connection"]:
        """Give the session that has the lock, else one that ends at once."""
        if self._session is not None:
            yield self._session
            return
        with self._connect() as session:
            yield session

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Tell in one line, without the password, what the database does not take."""
        from sqlalchemy.exc import DBAPIError

        try:
            yield
        except DBAPIError as error:
            why = str(error.orig).splitlines()[0][:200]
            if connection.lost(error):
                raise connection.Down(
                    f"{self.where} does not answer ({why}); start it, or mend its address"
                ) from error
            raise StepError(f"{self.where} is refused: {why}") from error


def _exists(session: "Connection") -> bool:
    from sqlalchemy import text

    return session.execute(text(f"SELECT to_regclass('{TABLE}')")).scalar() is not None
