"""infra/kubernetes against Kubernetes' own schemas, and against what the house wants of a pod."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import manifests

RESOURCES = manifests.resources()
WORKLOADS = {
    name: one for name, one in RESOURCES.items() if one["kind"] in {"Deployment", "StatefulSet"}
}
KUSTOMIZATION = yaml.safe_load((manifests.KUBERNETES / "kustomization.yaml").read_text())
SETTINGS = (manifests.KUBERNETES / "settings.env").read_text()
Pod = dict[str, Any]


def first(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = pod["containers"][0]
    return found


MISTAKES: dict[str, tuple[Callable[[Pod], object], str]] = {
    "an unknown key": (lambda pod: first(pod).update(imagee="x"), "imagee"),
    "a key at the wrong place": (lambda pod: pod.update(image="x"), "image"),
    "a wrong type": (lambda pod: pod.update(terminationGracePeriodSeconds="long"), "long"),
    "a missing name": (lambda pod: first(pod).pop("name"), "'name' is a required property"),
    "no containers": (lambda pod: pod.pop("containers"), "'containers' is a required property"),
    "root": (lambda pod: first(pod)["securityContext"].update(runAsUser=0), "or root"),
    "perhaps root": (lambda pod: pod["securityContext"].pop("runAsNonRoot"), "may be root"),
    "a root that is written to": (
        lambda pod: first(pod)["securityContext"].update(readOnlyRootFilesystem=False),
        "readOnlyRootFilesystem",
    ),
    "more privileges": (
        lambda pod: first(pod)["securityContext"].pop("allowPrivilegeEscalation"),
        "allowPrivilegeEscalation",
    ),
    "capabilities": (
        lambda pod: first(pod)["securityContext"].update(capabilities={"add": ["SYS_ADMIN"]}),
        "capabilities",
    ),
    "no seccomp": (lambda pod: pod["securityContext"].pop("seccompProfile"), "seccomp"),
    "a folder of the node": (
        lambda pod: pod["volumes"].append({"name": "all", "hostPath": {"path": "/"}}),
        "folder of the node",
    ),
    "the node's network": (lambda pod: pod.update(hostNetwork=True), "the node's"),
    "a secret as it is": (
        lambda pod: first(pod).setdefault("env", []).append({"name": "HF_TOKEN", "value": "hf_1"}),
        "HF_TOKEN is a secret",
    ),
    "a password in an address": (
        lambda pod: (
            first(pod)
            .setdefault("env", [])
            .append({"name": "WHERE", "value": "https://me:pw@git.example.org/x"})
        ),
        "WHERE is a secret",
    ),
    "no limits": (lambda pod: first(pod)["resources"].pop("limits"), "at most"),
    "services as variables": (lambda pod: pod.pop("enableServiceLinks"), "MLFLOW_PORT"),
}


@pytest.mark.parametrize("name", RESOURCES)
def test_a_manifest_keeps_the_schema_and_our_rules(name: str) -> None:
    assert manifests.kubernetes_faults(RESOURCES[name]) == []


@pytest.mark.parametrize("pool", manifests.POOLS)
def test_the_job_of_a_run_keeps_the_schema_and_our_rules(pool: str) -> None:
    assert manifests.kubernetes_faults(manifests.job(manifests.template(pool))) == []


@pytest.fixture(scope="module")
def gpu_job() -> dict[str, Any]:
    return manifests.job(manifests.template("gpu"))


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("of", ["a server", "a run"])
def test_a_mistake_in_a_pod_is_found(of: str, mistake: str, gpu_job: dict[str, Any]) -> None:
    spoil, said = MISTAKES[mistake]
    spoilt = copy.deepcopy(gpu_job if of == "a run" else RESOURCES["Deployment mlflow"])
    spoil(spoilt["spec"]["template"]["spec"])
    assert said in "; ".join(manifests.kubernetes_faults(spoilt))


def test_a_secret_is_no_manifest() -> None:
    spoilt = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "worker"}}
    assert "not committed" in manifests.kubernetes_faults(spoilt)[0]
    assert not [name for name in RESOURCES if name.startswith("Secret")]


@pytest.mark.parametrize("pool", manifests.POOLS)
def test_a_pool_takes_its_template_and_each_variable_is_used(pool: str) -> None:
    from prefect.server.schemas.actions import WorkPoolCreate

    base = manifests.template(pool)
    WorkPoolCreate(name=pool, type="kubernetes", base_job_template=base)  # placeholders are known
    used = set(re.findall(r"\{\{ (\w+) \}\}", str(base["job_configuration"])))
    assert used == base["variables"]["properties"].keys()
    base["job_configuration"]["hours"] = "{{ hours }}"
    with pytest.raises(ValueError, match="hours"):
        WorkPoolCreate(name=pool, type="kubernetes", base_job_template=base)


def test_a_gpu_run_gets_gpus_a_node_that_has_them_and_shared_memory(
    gpu_job: dict[str, Any],
) -> None:
    pod = gpu_job["spec"]["template"]["spec"]
    assert first(pod)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    shm = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    more = manifests.job(manifests.template("gpu"), gpus=8, node_selector={"zone": "a"})
    pod = more["spec"]["template"]["spec"]
    assert (first(pod)["resources"]["limits"]["nvidia.com/gpu"], pod["nodeSelector"]) == (
        8,
        {"zone": "a"},
    )


def test_a_cpu_run_asks_for_no_gpu_and_is_otherwise_the_same() -> None:
    cpu, gpu = (manifests.template(pool) for pool in manifests.POOLS)
    limits = gpu["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
    del limits["resources"]["limits"]["nvidia.com/gpu"]
    del gpu["variables"]["properties"]["gpus"]
    labels = gpu["job_configuration"]["job_manifest"]["spec"]["template"]["metadata"]["labels"]
    assert labels.pop("outplant.pool") == "gpu"
    labels["outplant.pool"] = "cpu"
    assert cpu["job_configuration"] == gpu["job_configuration"]
    assert cpu["variables"]["properties"].keys() == gpu["variables"]["properties"].keys()


@pytest.mark.parametrize("pool", manifests.POOLS)
def test_a_run_is_begun_once_ends_in_its_own_time_and_is_cleared_away(pool: str) -> None:
    spec = manifests.job(manifests.template(pool))["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 30


def references(one: Any) -> set[str]:
    """Names of the Secrets that a manifest refers to, those that may be absent left out."""
    if isinstance(one, list):
        return {name for item in one for name in references(item)}
    if not isinstance(one, dict):
        return set()
    found = {name for item in one.values() for name in references(item)}
    for key in ("secretRef", "secretKeyRef"):
        found |= {one[key]["name"]} if key in one else set()
    return found


def test_each_secret_that_is_asked_for_has_a_template_without_a_value() -> None:
    asked = references(list(RESOURCES.values()))
    asked |= references([manifests.template(pool) for pool in manifests.POOLS])
    folder = manifests.KUBERNETES / "secrets"
    assert {f"{name}.env" for name in asked} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"#.*|[A-Z_]+=", line), f"{path}: {line}"


def test_the_settings_hold_no_secret() -> None:
    pairs = dict(
        line.split("=", 1) for line in SETTINGS.splitlines() if line and not line.startswith("#")
    )
    names = set().union(*(manifests.secret_names(name) for name in ("worker", "mlflow", "prefect")))
    assert not names & pairs.keys()
    assert not [value for value in pairs.values() if manifests.WITH_PASSWORD.search(value)]


def test_the_auth_string_reaches_a_job_by_reference_alone() -> None:
    for pool in manifests.POOLS:
        env = {one["name"]: one for one in first(pod_of(f"Deployment {pool}"))["env"]}
        prefix = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET"
        kept = env["PREFECT_API_AUTH_STRING"]["valueFrom"]["secretKeyRef"]
        assert {name: env[f"{prefix}_{name.upper()}"]["value"] for name in kept} == kept
        assert kept["key"] in manifests.secret_names(kept["name"])


def pod_of(name: str) -> Pod:
    found: Pod = RESOURCES[name]["spec"]["template"]["spec"]
    return found


def test_only_the_workers_that_make_jobs_talk_to_kubernetes() -> None:
    talk = {name for name in WORKLOADS if pod_of(name)["automountServiceAccountToken"]}
    assert talk == {"Deployment cpu", "Deployment gpu"}
    (rules,) = [one["rules"] for name, one in RESOURCES.items() if one["kind"] == "Role"]
    given = {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
    assert given.keys() == {"jobs", "pods", "pods/log", "events"}
    assert given["pods"] == {"get", "list", "watch"}


def test_the_workers_serve_the_pools() -> None:
    served = set()
    for name in ("StatefulSet controller", "Deployment cpu", "Deployment gpu"):
        command = first(pod_of(name))["command"]
        served.add((command[command.index("--pool") + 1], command[command.index("--type") + 1]))
    assert served == {("controller", "process"), ("cpu", "kubernetes"), ("gpu", "kubernetes")}


def test_names_that_one_manifest_says_another_has() -> None:
    claims = {
        one["metadata"]["name"] for one in RESOURCES.values() if one["kind"].endswith("Claim")
    }
    maps = {one["name"] for one in KUSTOMIZATION["configMapGenerator"]}
    accounts = {
        one["metadata"]["name"] for one in RESOURCES.values() if one["kind"] == "ServiceAccount"
    }
    jobs = [manifests.job(manifests.template(pool)) for pool in manifests.POOLS]
    for one in [*WORKLOADS.values(), *jobs]:
        pod = one["spec"]["template"]["spec"]
        assert pod.get("serviceAccountName", "run") in accounts
        own = {each["metadata"]["name"] for each in one["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= volumes.keys() | own
            for source in container.get("envFrom", []):
                assert source.get("configMapRef", {"name": "settings"})["name"] in maps
    for one in KUSTOMIZATION["configMapGenerator"]:
        for file in one.get("files", []) + one.get("envs", []):
            assert (manifests.KUBERNETES / file).is_file()


def test_the_image_of_the_jobs_is_the_one_that_is_put_in_their_place() -> None:
    said = RESOURCES["StatefulSet controller"]["spec"]["template"]["spec"]
    images = {box["image"] for name in WORKLOADS for box in pod_of(name)["containers"]}
    images |= {
        manifests.template(pool)["variables"]["properties"]["image"]["default"]
        for pool in manifests.POOLS
    }
    assert images == {"outplant:0.1.0"}
    assert 'sed "s|outplant:0.1.0|$OUTPLANT_IMAGE|"' in said["initContainers"][1]["command"][-1]
    assert Path("infra/Dockerfile").is_file()
