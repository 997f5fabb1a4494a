"""The commands of `outplant` that start servers here, stop them, and deploy to one."""

import os
from typing import Annotated

import typer


def add(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (up, down, deploy):
        app.command()(command)


def up(
    cpu: Annotated[int, typer.Option(min=0, help="Workers for stages of pool cpu.")] = 0,
    gpu: Annotated[int, typer.Option(min=0, help="Workers for stages of pool gpu.")] = 0,
) -> None:
    """Start Prefect, MLflow and workers on this machine, open to it alone, and deploy the flows.

    What runs already is left alone. Each worker of --cpu and --gpu has a clone of its own, which
    needs a DVC remote.
    """
    from pipelines import machine, servers

    names = machine.up({"cpu": cpu, "gpu": gpu}, _tell)
    addresses = servers.here()
    typer.echo(f"running: {', '.join(names)}; logs in {servers.FOLDER / 'logs'}")
    for name, key in servers.ADDRESSES.items():
        if key in addresses:
            typer.echo(f"{name:10}{addresses[key].removesuffix('/api')}")
    if addresses:
        exports = " ".join(f"{key}={address}" for key, address in addresses.items())
        typer.echo(f"export {exports}  # in your shell")
    typer.echo("stop all of it: outplant down")


def down() -> None:
    """Stop what `outplant up` started here, and all that this had started."""
    from pipelines import machine

    machine.down(typer.echo)


def deploy() -> None:
    """Tell the server of PREFECT_API_URL of this project: pools, queues, deployments, schedules.

    As often as you like: what infra/prefect.yaml has is made, or made so again.
    """
    from pipelines import servers

    for name, address in servers.here().items():
        os.environ.setdefault(name, address)
    from pipelines import deployment  # Prefect reads its environment when it is imported

    deployment.deploy(typer.echo)


def _tell(line: str) -> None:
    typer.echo(line, err=True)
