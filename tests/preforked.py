"""A `python` that starts at once: each call is forked off a server that has the libraries imported.

    with preforked(folder) as environment: ...   # whose PATH has it as `python`: -m and -c

A stage imports torch, MLflow or Great Expectations for seconds, and a graph has dozens of them. The
server imports none of this project's own modules: a clone's stages are the clone's.
"""

import contextlib
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PRELOAD = (
    "daft", "dvc.cli", "dvc.commands.repro", "dvc.repo", "great_expectations", "mlflow",
    "mlflow.pyfunc", "pyarrow.parquet", "pydantic", "sklearn.linear_model", "torch", "transformers",
    "transformers.models.bert.modeling_bert", "transformers.trainer",
)  # fmt: skip
CLIENT = """#!{python} -IS
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
settings = [f"{{name}}={{value}}" for name, value in os.environ.items()]
said = "\\0".join([os.getcwd(), *settings, "", *sys.argv[1:]])
socket.send_fds(server, [len(said.encode()).to_bytes(8, "big")], [0, 1, 2])
server.sendall(said.encode())
sys.exit(int.from_bytes(server.recv(1) or b"\\x01", "big"))
"""


@contextlib.contextmanager
def preforked(folder: Path) -> Iterator[dict[str, str]]:
    """Give an environment in which `python -m MODULE ...` is forked off a server."""
    folder.mkdir()
    address = folder / "server"
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen()
        command = [sys.executable, __file__, str(listening.fileno())]
        server = subprocess.Popen(command, pass_fds=[listening.fileno()])
    try:
        yield os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    finally:
        server.terminate()
        server.wait()


def serve(listening: socket.socket) -> None:
    """Import the libraries, and be each command that is asked for in a process of its own."""
    for name in PRELOAD:
        __import__(name)
    while True:
        asked, _ = listening.accept()
        if os.fork() == 0:
            watch(asked)
        asked.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)


def watch(asked: socket.socket) -> None:
    """Run the command in a child, and tell its exit status."""
    length, descriptors, _, _ = socket.recv_fds(asked, 8, 3)
    said = b""
    while len(said) < int.from_bytes(length, "big"):
        said += asked.recv(1 << 16)
    child = os.fork()
    if child == 0:
        asked.close()
        be(said.decode(), descriptors)
    _, status = os.waitpid(child, 0)
    asked.sendall(bytes([abs(os.waitstatus_to_exitcode(status)) & 255]))
    os._exit(0)


def be(said: str, descriptors: list[int]) -> None:
    """Be `python -m MODULE ...` or `python -c CODE`, in the caller's folder and environment."""
    folder, *settings = said.split("\0")
    end = settings.index("")
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(setting.split("=", 1) for setting in settings[:end])
    flag, what, *arguments = settings[end + 1 :]
    sys.argv = [what, *arguments]
    sys.path[0] = folder
    status: int | str | None = 1
    try:
        if flag == "-c":
            exec(what, {"__name__": "__main__"})
        else:
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as exited:
        status = exited.code
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
