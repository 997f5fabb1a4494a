"""What `outplant up` runs on this machine: a Prefect server, MLflow, and workers of three pools."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pipelines import connection, servers, stages
from pipelines.servers import ADDRESSES, FOLDER, Process, Wanted
from steps.core.entry import StepError

Say = Callable[[str], None]
Begun = dict[str, tuple[Wanted, Process]]  # what this call of `up` started
PORTS = {"prefect": 4200, "mlflow": 5000}
BEHIND = {"prefect": "/api", "mlflow": ""}  # what an address has behind the port
LIMITS = {"controller": 8}  # its flows wait for others; a stage has a worker for itself
LOOK_SECONDS = "2"  # of a worker for runs; Prefect's own 10 are for servers far away
AUTH, SERVER_AUTH = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"


def up(counts: dict[str, int], say: Say) -> list[str]:
    """Start what does not run yet, deploy, and return the names of all that runs.

    `counts`: workers beside the controller's, by pool. Where anything fails, what this call
    started is stopped again.
    """
    if not (file := Path("infra/prefect.yaml")).exists():
        raise StepError(f"no {file} here; run this in the folder of the project")
    with servers.alone():
        before = servers.running()
        for one in before.values():
            say(f"{one.name}: runs already {one.address}".rstrip())
        folders = {name: clone(name, say) for name in clones(counts) if name not in before}
        if "controller" not in before:
            folders["controller"] = Path.cwd()
        begun: Begun = {}
        try:
            for name in [name for name in ADDRESSES if name not in before]:
                servers.sweep(name)
                _begin(begun, server(name, say))
            _wait(begun, ["prefect"], say)
            _deploy(say)  # while MLflow starts
            _wait(begun, ["mlflow"], say)
            for name, folder in folders.items():
                _begin(begun, worker(name, folder))
            _wait(begun, folders, say)
        except BaseException:
            servers.stop(begun)
            raise
        return list(servers.running())


def _begin(begun: Begun, wanted: Wanted | None) -> None:
    if wanted:
        begun[wanted.name] = (wanted, servers.start(wanted))


def _wait(begun: Begun, names: Iterable[str], say: Say) -> None:
    for name in names:
        if name in begun:
            servers.wait(*begun[name], say)


def down(say: Say) -> None:
    """Stop all that runs, and what it started; a run that was at work is told to be Crashed."""
    with servers.alone():
        names = list(servers.running())
        stopped = servers.stop(set(servers.known()) - set(ADDRESSES))
        at = servers.here().get(ADDRESSES["prefect"])
        if stopped and at and servers.answers(f"{at}/health"):
            _close(say)
        stopped += servers.stop(servers.known())
    more = stopped - len(names)
    if names:
        say(f"stopped {', '.join(names)}")
    if more > 0:
        say(f"stopped {more} process{'es' if more > 1 else ''} that they had started")
    if not stopped:
        say("nothing is running")


def _close(say: Say) -> None:
    os.environ.update(_settings())
    from pipelines import deployment  # Prefect reads its environment when it is imported

    for name in deployment.close("Stopped by `outplant down`"):
        say(f"run {name} was at work: Crashed")


def _deploy(say: Say) -> None:
    os.environ.update(_settings())
    from pipelines import deployment  # Prefect reads its environment when it is imported

    deployment.deploy(say)


def _settings() -> dict[str, str]:
    """Return what tells Prefect and MLflow where ours run, and the login that both sides need."""
    given = os.environ.get(AUTH) or os.environ.get(SERVER_AUTH)
    return servers.here() | ({AUTH: given, SERVER_AUTH: given} if given else {})


def server(name: str, say: Say) -> Wanted | None:
    """Say what server to start; none where the environment names one that answers."""
    given = os.environ.get(ADDRESSES[name], "")
    known = servers.known().get(name)  # it died; workers look for it where it was
    if connection.is_server(given) and not known:
        if servers.answers(f"{given.rstrip('/')}/health"):
            say(f"{name}: {ADDRESSES[name]} names one, which is used: {connection.shown(given)}")
            return None
        port = _own_port(given, ADDRESSES[name])
    else:
        port = urlsplit(known.address).port or 0 if known else PORTS[name]
    free = servers.port(port)
    if free != port and known:
        raise StepError(f"{name} ran at port {port}, which is taken now; `outplant down` first")
    if free != port:
        say(f"{name}: port {port} is taken, {free} is used")
    return _mlflow(free) if name == "mlflow" else _prefect(free)


def _own_port(given: str, variable: str) -> int:
    """Return the port of an address here, such as a shell has of a server that was stopped."""
    where = urlsplit(given)
    if where.hostname in ("127.0.0.1", "localhost") and where.port:
        return where.port
    raise StepError(
        f"{variable} names {connection.shown(given)}, which does not answer; start it, or unset "
        "the variable to have one started here"
    )


def _prefect(port: int) -> Wanted:
    """A Prefect server of this project's own; its leases outlive it, so that no run is ended."""
    url = f"http://127.0.0.1:{port}/api"
    return Wanted(
        name="prefect",
        command=_python("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)),
        environment=_settings()
        | _home()
        | {
            "PREFECT_API_URL": url,
            "PREFECT_UI_API_URL": url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
        },
        folder=Path.cwd(),
        ready=f"{url}/health",
        address=url,
    )


def _mlflow(port: int) -> Wanted:
    """An MLflow server over the registry that is used without it too, files and all."""
    url = f"http://127.0.0.1:{port}"
    login = ["--app-name", "basic-auth"] if os.environ.get("MLFLOW_AUTH_CONFIG_PATH") else []
    return Wanted(
        name="mlflow",
        command=_python(
            *("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--no-serve-artifacts", *login),
        ),
        environment={
            "MLFLOW_BACKEND_STORE_URI": connection.address(),  # may hold a password: no argument
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": Path("mlartifacts").absolute().as_uri(),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges of LLM traces: unused here
        },
        folder=Path.cwd(),
        ready=f"{url}/health",
        address=url,
    )


def worker(name: str, folder: Path) -> Wanted:
    """A worker whose flows run in that folder, with the code that is there."""
    pool = name.partition("-")[0]
    limit = str(LIMITS.get(pool, 1))
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return Wanted(
        name=name,
        command=_python(
            *("prefect", "worker", "start", "--pool", pool, "--type", "process"),
            *("--name", name, "--limit", limit),
        ),
        environment=_settings()
        | _home()
        | _device(name)
        | {"OUTPLANT_HOME": str(folder), "PYTHONPATH": path}
        | {"PREFECT_WORKER_QUERY_SECONDS": LOOK_SECONDS}
        | ({} if pool == "controller" else {"OUTPLANT_DVC_CACHE": _cache()}),
        folder=folder,
        ready=f"Worker '{name}' started!",
    )


def _home() -> dict[str, str]:
    """Keep a person's own Prefect, its database and profiles, out of this."""
    return {"PREFECT_HOME": str((FOLDER / "prefect").absolute())}


def _cache() -> str:
    return os.environ.get("OUTPLANT_DVC_CACHE") or str((FOLDER / "cache").absolute())


def _device(name: str) -> dict[str, str]:
    """Give each worker of pool gpu a GPU of its own, of those that are visible here."""
    pool, _, number = name.partition("-")
    if pool != "gpu":
        return {}
    visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if visible and int(number) > len(visible):
        raise StepError(
            f"{name} has no GPU: CUDA_VISIBLE_DEVICES has {len(visible)}; ask for so many by --gpu"
        )
    return {"CUDA_VISIBLE_DEVICES": visible[int(number) - 1] if visible else str(int(number) - 1)}


def clones(counts: dict[str, int]) -> list[str]:
    """Name the workers that need a clone of their own."""
    return [f"{pool}-{n + 1}" for pool, number in counts.items() for n in range(number)]


def clone(name: str, say: Say) -> Path:
    """Give a worker its own clone, with the DVC remote through which it hands over its outs."""
    store, url = stages.remote()
    folder = (FOLDER / "workers" / name).absolute()
    if not (folder / ".git").exists():
        say(f"{name}: cloning into {folder.relative_to(Path.cwd())}")
        command = ["git", "clone", "--quiet", str(Path.cwd()), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepError(f"git clone failed: {stages.failure(done.stderr.splitlines())}")
    if (own := Path(".dvc/config.local")).exists():  # logins and the like, which git has not
        shutil.copy2(own, folder / own)
    if stages.remote(folder)[1] != url:  # a folder that .dvc/config names from where it lies itself
        stages.call(["remote", "modify", "--local", store, "url", url], _silent, folder)
    return folder


def _silent(_line: str) -> None:
    """Say nothing."""


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
