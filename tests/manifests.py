"""What infra/ describes, with what is wrong in it: by schema, and by the rules of the house.

A fault is a line; a description without one gives an empty list.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = Path("infra/kubernetes")
POOLS = ("cpu", "gpu")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|_KEY$|_URI$|_URL$|RECORD")
NAMES_ONE = re.compile(r"_SECRET_(NAME|KEY)$")  # says in which Secret one is
PLAIN = ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_UI_API_URL")
WITH_PASSWORD = re.compile(r"://[^/@\s:]*:(?!\$\{)[^/@\s]+@")
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def compose() -> dict[str, Any]:
    """infra/compose.yaml, read anew."""
    found: dict[str, Any] = yaml.safe_load(Path("infra/compose.yaml").read_text())
    return found


def resources() -> dict[str, dict[str, Any]]:
    """What kustomization.yaml lists, by kind and name."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    every = [one for name in listed for one in yaml.safe_load_all((KUBERNETES / name).read_text())]
    return {f"{one['kind']} {one['metadata']['name']}": one for one in every}


def template(pool: str) -> dict[str, Any]:
    """A pool's base job template."""
    found: dict[str, Any] = json.loads((KUBERNETES / f"{pool}.json").read_text())
    return found


def job(base: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The Job that Prefect's worker makes of a template for a run; `values`: job variables."""
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    made = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(
            base_job_template=base, values=values, client=PrefectClient("http://127.0.0.1:9/api")
        )
    )
    run = FlowRun(flow_id="11111111-1111-1111-1111-111111111111", name="a-run")
    with temporary_settings(restore_defaults={PREFECT_SERVER_DATABASE_CONNECTION_URL}):
        made.prepare_for_flow_run(run)  # no worker knows the database, but our tests' own server
    return made.job_manifest


def compose_faults(found: dict[str, Any]) -> list[str]:
    """By the Compose specification, then by our rules."""
    schema = json.loads(
        (files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text()
    )
    errors = jsonschema.validators.validator_for(schema)(schema).iter_errors(found)
    faults = [f"{'.'.join(map(str, error.path))}: {error.message}" for error in errors]
    for name, service in found.get("services", {}).items():
        faults += [f"services.{name}: {fault}" for fault in _service(service)]
    return faults


def kubernetes_faults(found: dict[str, Any]) -> list[str]:
    """By Kubernetes' own schemas, unknown keys refused, then by our rules."""
    try:
        kubernetes_validate.validate(found, "1.37", strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    if found["kind"] == "Secret":
        return ["a Secret is made by command, not committed"]
    pod = found["spec"].get("template", {}).get("spec") if "spec" in found else None
    return list(_pod(pod)) if pod else []


def _service(service: dict[str, Any]) -> Iterator[str]:
    for port in service.get("ports", []):
        if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", str(port)):
            yield f"port {port} is open to other machines"
    yield from _literals(_pairs(service.get("environment") or {}))
    if service.get("privileged"):
        yield "is privileged"
    if service.get("image", "").startswith("outplant"):  # the image says who its user is
        if service.get("user", "1000").partition(":")[0] in {"root", "0"}:
            yield "runs as root"
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
            yield "its root is not read-only, or it keeps capabilities"
        if service.get("security_opt") != ["no-new-privileges:true"]:
            yield "may gain privileges"


def _pairs(environment: dict[str, Any] | list[str]) -> dict[str, Any]:
    if isinstance(environment, dict):
        return environment
    return {line.partition("=")[0]: line.partition("=")[2] for line in environment}


def _pod(pod: dict[str, Any]) -> Iterator[str]:
    context = pod.get("securityContext", {})
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        yield "its user may be root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    if pod.get("enableServiceLinks") is not False:
        yield "services become variables such as MLFLOW_PORT, which MLflow takes for an option"
    if pod.get("automountServiceAccountToken") is None:
        yield "does not say whether it talks to Kubernetes"
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        yield "mounts a folder of the node"
    if pod.get("hostNetwork") or pod.get("hostPID") or pod.get("hostIPC"):
        yield "shares what is the node's"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        yield from (f"{container['name']}: {fault}" for fault in _container(container))


def _container(container: dict[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    for key, wanted in RESTRICTED.items():
        if context.get(key) != wanted:
            yield f"{key} is {context.get(key)}, not {wanted}"
    if context.get("privileged") or context.get("runAsUser") == 0:
        yield "is privileged, or root"
    if not {"requests", "limits"} <= container.get("resources", {}).keys():
        yield "does not say what it needs, and at most"
    yield from _literals(
        {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}
    )


def _literals(environment: dict[str, Any]) -> Iterator[str]:
    """Find secrets that stand there themselves, not by reference."""
    for name, value in environment.items():
        said = str(value or "")
        secret = SECRET.search(name) and not NAMES_ONE.search(name) and name not in PLAIN
        if WITH_PASSWORD.search(said) or (secret and said and "${" not in said):
            yield f"{name} is a secret, and stands there"


@cache
def secret_names(secret: str) -> frozenset[str]:
    """What a Secret's template asks for."""
    lines = (KUBERNETES / "secrets" / f"{secret}.env").read_text().splitlines()
    return frozenset(line.partition("=")[0] for line in lines if not line.startswith("#"))
