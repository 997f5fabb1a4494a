"""The API against `mlflow models serve` of the same bundle and a plain FastAPI around a pipeline.

    python -m tests.bench.serve [BUNDLE ...] [--seconds S] [--rounds N]

Bundles: those of the demo (`bundles/entities bundles/changes`), as far as transformers loads them;
else two are made here of the demo's base, with random heads, on which speed does not depend. Each
number of clients is measured in turns; all servers of a task are up, the others idle meanwhile. One
JSON line a measurement; the last, `summary`: ratios of requests/s at 32 clients, and of a single
client's median wait to the better of the others (medians over tasks and rounds), and the requests
of ours that failed.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from steps.bundle import PIPELINES
from steps.core.files import read_json, write_json
from steps.core.params import Source
from steps.fetch import fetch
from tests.servers import ROOT, free_port, running

CLIENTS = (1, 8, 32)
TASKS = {"entities": "tokens", "changes": "classification"}
LABELS = {"tokens": ["O", "B-API", "I-API", "B-NAME", "I-NAME"], "classification": ["a", "b", "c"]}
MAX_TOKENS = 256


@dataclass(frozen=True)
class Server:
    """`form`: a request's body, with TEXT for the text."""

    name: str
    command: list[str]
    path: str
    form: str
    health: str


def make(folder: Path, task: str, kind: str) -> Path:
    """The base of the demo under a head that learned nothing; transformers loads it, too."""
    from steps.transfer.checkpoints import save_bundle_model
    from steps.transfer.exported import export
    from steps.transfer.networks import Shape, network
    from steps.transfer.strategies import Material

    start, candidate, out = folder / "start", folder / f"{task}.candidate", folder / task
    if not start.exists():
        source = yaml.safe_load((ROOT / "params.yaml").read_text())["sources"]["minilm"]
        fetch(Source(**source | {"path": str(ROOT / source["path"])}), start)
    made = network("classes").build(
        start, Material(kind, LABELS[kind], [], MAX_TOKENS), Shape(pool="first")
    )
    made.save(candidate / "seed-1")
    about = {"type": kind, "strategy": "full", "classes": LABELS[kind], "weights": {"1": "seed-1"}}
    write_json(candidate / "candidate.json", about)
    save_bundle_model(start, candidate, 1, out)
    assert export(out, 1.0)
    known = {"task": task, "type": kind, "recipe": "full", "inputs": ["text"], "temperature": None}
    write_json(out / "bundle.json", known | {"labels": [], "loads_in": ["mlflow", "transformers"]})
    return out


def save(bundle: Path, out: Path) -> Path:
    """Write a bundle as `register` logs it."""
    import mlflow

    code = ROOT / "pipelines/champion.py"
    mlflow.pyfunc.save_model(
        str(out),
        python_model=str(code),
        artifacts={"bundle": str(bundle.absolute())},
        pip_requirements=[],
        input_example=["An example text.", "And another one."],
    )
    return out


def servers(bundle: Path, saved: Path) -> list[Server]:
    """Ours, MLflow's and the plain one."""
    about = read_json(bundle / "bundle.json")
    ports = [free_port() for _ in range(3)]
    at = [f"http://127.0.0.1:{port}" for port in ports]
    ours = ["-m", "typer", "pipelines.cli", "run", "serve"]
    ours += ["--bundle", str(bundle.absolute()), "--port", str(ports[0])]
    mlflow = ["-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local"]
    mlflow += ["--port", str(ports[1])]
    plain = ["-m", "tests.bench.serving_plain", str(bundle.absolute())]
    plain += [PIPELINES[about["type"]], str(ports[2])]
    found = [
        Server(
            "ours",
            ours,
            f"{at[0]}/v1/{about['task']}/predict",
            '{"items": [{"text": "TEXT"}]}',
            f"{at[0]}/readyz",
        ),
        Server("mlflow", mlflow, f"{at[1]}/invocations", '{"inputs": ["TEXT"]}', f"{at[1]}/ping"),
    ]
    if "transformers" in about.get("loads_in", []):
        found.append(
            Server("plain", plain, f"{at[2]}/predict", '{"text": "TEXT"}', f"{at[2]}/health")
        )
    return found


@contextlib.contextmanager
def up(every: list[Server], folder: Path) -> Iterator[None]:
    """Run all servers until this is left."""
    with contextlib.ExitStack() as stack:
        for server in every:
            path = {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
            path["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            where = folder / server.name
            command = server.command[1:]
            stack.enter_context(running(command, where, path, server.health))
        yield


def megabytes(server: Server) -> float:
    """What the processes of a server have for themselves."""
    found = 0
    for process in psutil.process_iter(["cmdline"]):
        if server.command[1:] == (process.info["cmdline"] or [])[2:]:
            family = [process, *process.children(recursive=True)]
            found += sum(one.memory_full_info().uss for one in family)
    return round(found / 1e6, 1)


def measure(server: Server, clients: int, seconds: float) -> dict[str, Any]:
    """Load one server from another process."""
    command = [sys.executable, "-m", "tests.bench.serving_load", server.path, server.form]
    done = subprocess.run(
        [*command, str(clients), str(seconds)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {"server": server.name, "clients": clients, **found, "megabytes": megabytes(server)}


def compare(bundle: Path, folder: Path, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all servers of a bundle, pair by pair in turns."""
    every = servers(bundle, save(bundle, folder / f"{bundle.name}.mlflow"))
    rows = []
    with up(every, folder / f"{bundle.name}.servers"):
        for number in range(asked.rounds):
            for clients in CLIENTS:
                for server in every:
                    row = {"task": bundle.name, "round": number}
                    rows.append(row | measure(server, clients, asked.seconds))
                    print(json.dumps(rows[-1]), flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over tasks and rounds of the ratios within each."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        turn = found.setdefault((row["task"], row["round"], row["clients"]), {})
        turn[row["server"]] = row
    many = [turn for (_, _, clients), turn in found.items() if clients == CLIENTS[-1]]
    alone = [turn for (_, _, clients), turn in found.items() if clients == 1]

    def ratio(other: str) -> float | None:
        key = "requests_per_second"
        each = [turn["ours"][key] / turn[other][key] for turn in many if other in turn]
        return round(statistics.median(each), 2) if each else None

    waits = [
        turn["ours"]["p50_ms"] / min(one["p50_ms"] for name, one in turn.items() if name != "ours")
        for turn in alone
    ]
    return {
        "what": "summary",
        "ratio_mlflow": ratio("mlflow"),
        "ratio_plain": ratio("plain"),
        "p50_ratio": round(statistics.median(waits), 3),
        "failed": sum(row["failed"] for row in rows if row["server"] == "ours"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end, too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = asked.bundles or [make(folder, task, kind) for task, kind in TASKS.items()]
        rows = [row for bundle in bundles for row in compare(bundle, folder, asked)]
    print(json.dumps(summary(rows)))


if __name__ == "__main__":
    main()
