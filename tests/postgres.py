"""A PostgreSQL of one's own: Debian's binaries, in a folder that goes, on a port of this machine.

with cluster() as server: ...   # where absent() says nothing
"""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USER, PASSWORD = "outplant", "s3cr3t"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "300",
    "shared_buffers": "32MB",
}


class Server:
    """A running PostgreSQL."""

    def __init__(self, port: int) -> None:
        self.port, self._copies = port, 0

    def uri(self, database: str) -> str:
        return f"postgresql+psycopg2://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def ask(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement by itself, as its superuser; give the rows."""
        import psycopg2

        with contextlib.closing(
            psycopg2.connect(self.uri(database).replace("+psycopg2", ""))
        ) as session:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []

    def blank_registry(self) -> str:
        """Create MLflow's tables, which takes seconds, in a database to copy; give its URI."""
        from pipelines import connection

        connection.quiet()
        import mlflow

        uri = self.copy("template1")
        mlflow.MlflowClient(uri).search_experiments()
        return uri

    def copy(self, template: str) -> str:
        """Make a database like another, from which all are sent away; give its URI."""
        template = template.rpartition("/")[2]
        self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{template}' AND pid <> pg_backend_pid()"
        )
        self._copies += 1
        self.ask(f"CREATE DATABASE copy_{self._copies} TEMPLATE {template}")
        return self.uri(f"copy_{self._copies}")


def absent() -> str:
    """Say why no PostgreSQL can be run here, where none can."""
    if not _binaries():
        return "no PostgreSQL here: `apt-get install postgresql` brings /usr/lib/postgresql/*/bin"
    if os.getuid() == 0 and not _account():
        return "PostgreSQL refuses to be run by root, and there is no user `postgres`"
    return ""


@contextlib.contextmanager
def cluster() -> Iterator[Server]:
    """Run a server as long as this is open."""
    folder = Path(tempfile.mkdtemp(prefix="outplant-postgres-"))
    data, account = folder / "data", _account() if os.getuid() == 0 else {}
    (folder / "password").write_text(PASSWORD)
    if account:
        for path in (folder, folder / "password"):
            shutil.chown(path, account["user"])
    said = {"cwd": folder, "env": {"LC_ALL": "C"}} | account
    try:
        make = ["initdb", "-D", data, "-U", USER, f"--pwfile={folder}/password", "-E", "UTF8"]
        make += ["--auth=scram-sha-256", "--no-sync", "--locale=C"]
        _run(make, said)
        with _running(data, said) as port:
            yield Server(port)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _running(data: Path, said: dict[str, Any]) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = SETTINGS | {"port": str(port)}
    with (data / "postgresql.conf").open("a") as conf:
        conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    _run(["pg_ctl", "start", "--wait", "-D", data, "-l", data / "log"], said)  # its own session
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    try:
        yield port
    finally:
        _run(["pg_ctl", "stop", "--wait", "--mode=immediate", "-D", data], said)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(postmaster, signal.SIGKILL)


def _run(command: list[Any], said: dict[str, Any]) -> None:
    """Run one of PostgreSQL's programs, which refuse to be root."""
    done = subprocess.run(
        [f"{_binaries()[-1]}/{command[0]}", *command[1:]],
        stdout=subprocess.DEVNULL,  # a server that is started keeps it open
        stderr=subprocess.PIPE if command[0] == "initdb" else subprocess.DEVNULL,
        check=False,
        **said,
    )
    assert done.returncode == 0, done.stderr


def _binaries() -> list[str]:
    """Folders of PostgreSQL's programs, the newest last."""
    return sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))


def _account() -> dict[str, Any]:
    """What makes a process of root's the user `postgres`, where there is one."""
    try:
        found = pwd.getpwnam("postgres")
    except KeyError:
        return {}
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
