"""`deploy/kuberay` against the schemas of Kubernetes and KubeRay, and as Ray's own autoscaler reads it.

A cluster may drop a field that it does not know without a word, so what is misspelt must be found here. Kubernetes' own
schemas come with kubernetes-validate. Those of KubeRay 1.6 and later stand below, as far as the files use them:
https://ray-project.github.io/kuberay/reference/api/ has all of them.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import kubernetes_validate
import pytest
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from reid.config import load_config

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kuberay"
FILES = sorted(FOLDER.glob("*.yaml"))
CLUSTERS = ("raycluster.yaml", "rayjob.yaml", "rayjob-s3.yaml")


def of_kubernetes(document: dict[str, Any]) -> dict[str, Any]:
    """
    Raises:
        ValueError: Kubernetes' schema lacks a field of it, or has another type for it, or needs one more.
    """
    try:
        kubernetes_validate.validate(document, "1.37", strict=True)
    except kubernetes_validate.ValidationError as error:
        raise ValueError(f"{'.'.join(map(str, error.path))}: {error.message}") from error
    return document


def of_a_pod(template: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "pod"}
    return of_kubernetes({"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": template})


def resources_of_a_container(resources: dict[str, Any]) -> dict[str, Any]:
    return of_a_pod({"spec": {"containers": [{"name": "container", "resources": resources}]}})


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AuthOptions(Part):
    mode: Literal["disabled", "token"]


class AutoscalerOptions(Part):
    version: Literal["v1", "v2"]
    idleTimeoutSeconds: int  # noqa: N815 - names of KubeRay, here and below
    resources: Annotated[dict[str, Any], AfterValidator(resources_of_a_container)]


class HeadGroup(Part):
    rayStartParams: dict[str, str]  # noqa: N815
    template: Annotated[dict[str, Any], AfterValidator(of_a_pod)]


class WorkerGroup(HeadGroup):
    groupName: str  # noqa: N815
    replicas: int
    minReplicas: int  # noqa: N815
    maxReplicas: int  # noqa: N815


class RayClusterSpec(Part):
    rayVersion: str  # noqa: N815
    authOptions: AuthOptions  # noqa: N815
    enableInTreeAutoscaling: bool  # noqa: N815
    autoscalerOptions: AutoscalerOptions  # noqa: N815
    headGroupSpec: HeadGroup  # noqa: N815
    workerGroupSpecs: list[WorkerGroup]  # noqa: N815


class RayJobSpec(Part):
    entrypoint: str
    backoffLimit: int  # noqa: N815
    shutdownAfterJobFinishes: bool  # noqa: N815
    ttlSecondsAfterFinished: int  # noqa: N815
    rayClusterSpec: RayClusterSpec  # noqa: N815


class Metadata(Part):
    name: str


class RayCluster(Part):
    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Part):
    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


def check(document: dict[str, Any]) -> None:
    """
    Raises:
        ValueError: something in it has no place there, or another type, or is missing.
    """
    match document["kind"]:
        case "RayCluster":
            RayCluster.model_validate(document)
        case "RayJob":
            RayJob.model_validate(document)
        case _:
            of_kubernetes(document)


def documents(file: Path) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(file.read_text())]


def cluster_of(name: str) -> dict[str, Any]:
    """The specification of the Ray cluster in a file."""
    (document,) = documents(FOLDER / name)
    spec: dict[str, Any] = document["spec"]
    return spec.get("rayClusterSpec", spec)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FILES:
        for document in documents(file):
            if document["kind"] == "Deployment":
                yield file.name, document["spec"]["template"]["spec"]
            elif document["kind"] in ("RayCluster", "RayJob"):
                spec = cluster_of(file.name)
                for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
                    yield file.name, group["template"]["spec"]


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, pod in pods():
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield name, container


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_schemas_know_every_field(file: Path) -> None:
    assert documents(file)
    for document in documents(file):
        check(document)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("enableInTreeAutoScaling",), True),
        (("rayVersion",), 2.6),
        (("autoscalerOptions", "version"), "v3"),
        (("autoscalerOptions", "resources", "limit"), {}),
        (("workerGroupSpecs", 0, "minReplica"), 0),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("headGroupSpec", "template", "spec", "containers", 0, "envForm"), []),
        (("headGroupSpec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "6379"),
        (("headGroupSpec", "template", "spec", "volumes", 0, "emptyDir", "sizelimit"), "1Gi"),
        (("workerGroupSpecs", 0, "template", "spec", "toleration"), []),
    ],
)
def test_a_wrong_field_is_found(path: tuple[str | int, ...], wrong: Any) -> None:
    (document,) = documents(FOLDER / "raycluster.yaml")
    check(document)
    node = document["spec"]
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = wrong
    with pytest.raises(ValidationError, match=str(path[-1])):
        check(document)


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Service"])
def test_a_wrong_field_beside_ray_is_found(kind: str) -> None:
    document = next(one for one in documents(FOLDER / "mlflow.yaml") if one["kind"] == kind)
    document["spec"]["selecter"] = {}
    with pytest.raises(ValueError, match="selecter"):
        check(document)


def test_a_field_that_is_left_out_is_found() -> None:
    (document,) = documents(FOLDER / "raycluster.yaml")
    del document["spec"]["workerGroupSpecs"][0]["groupName"]
    with pytest.raises(ValidationError, match="groupName"):
        check(document)


@pytest.mark.parametrize("name", CLUSTERS)
def test_rays_autoscaler_reads_what_is_meant(name: str) -> None:
    """The head takes no task, GPU nodes come from none on."""
    cluster = {"metadata": {"name": "reid", "namespace": "default"}, "spec": cluster_of(name)}
    read = _derive_autoscaling_config_from_ray_cr(cluster)
    nodes = read["available_node_types"]
    assert nodes["headgroup"]["resources"]["CPU"] == 0
    assert (nodes["gpu"]["min_workers"], nodes["gpu"]["max_workers"]) == (0, 8)
    assert nodes["gpu"]["resources"] == {"CPU": 8, "GPU": 1, "memory": 64 * 2**30}
    assert read["idle_timeout_minutes"] == 10
    assert cluster_of(name)["autoscalerOptions"]["version"] == "v2"
    assert cluster_of(name)["enableInTreeAutoscaling"] is True


def test_a_job_has_the_cluster_that_stays() -> None:
    assert cluster_of("rayjob.yaml") == cluster_of("raycluster.yaml")


def test_a_cluster_with_a_bucket_differs_in_its_volumes_alone() -> None:
    ours, theirs = cluster_of("rayjob-s3.yaml"), cluster_of("raycluster.yaml")
    for spec in (ours, theirs):
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            pod.pop("initContainers", None)
            for part in (pod["volumes"], pod["containers"][0]["volumeMounts"]):
                part[:] = [one for one in part if one["name"] == "shm"]
    assert ours == theirs


def test_versions_are_those_that_are_pinned() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert {cluster_of(name)["rayVersion"] for name in CLUSTERS} == {pinned["ray"]}
    assert {container["image"] for _, container in containers()} == {"CHANGE/reid:0.1.0"}
    assert 'version = "0.1.0"' in (ROOT / "pyproject.toml").read_text()


def test_requests_are_limits_and_nothing_runs_as_root() -> None:
    for name, container in containers():
        assert container["resources"]["requests"] == container["resources"]["limits"], name
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name


def test_ray_asks_for_a_token_and_no_file_holds_a_secret() -> None:
    for name in CLUSTERS:
        spec = cluster_of(name)
        assert spec["authOptions"] == {"mode": "token"}
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            assert {"name": "RAY_AUTH_MODE", "value": "token"} in group["template"]["spec"]["containers"][0]["env"]
    kinds = {document["kind"] for file in FILES for document in documents(file)}
    assert "Secret" not in kinds


def test_every_name_that_is_referred_to_is_there() -> None:
    """Claims, settings and MLflow's address; the secret is made by hand and may be absent."""
    made = {
        (document["kind"], document["metadata"]["name"])
        for name in ("settings.yaml", "mlflow.yaml")
        for document in documents(FOLDER / name)
    }
    for _, pod in pods():
        for volume in pod["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in made
        names = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= names
            for source in container.get("envFrom", ()):
                assert source in (
                    {"configMapRef": {"name": "reid"}},
                    {"secretRef": {"name": "reid-secrets", "optional": True}},
                )
    assert documents(FOLDER / "raycluster.yaml")[0]["metadata"]["name"] != "reid-secrets", "KubeRay's, for the token"
    for name in ("settings.yaml", "settings-s3.yaml"):
        settings = documents(FOLDER / name)[0]["data"]
        assert settings["MLFLOW_TRACKING_URI"] == "http://reid-mlflow:5000"
        assert ("Service", "reid-mlflow") in made


def mlflow_pod() -> dict[str, Any]:
    (deployment,) = [one for one in documents(FOLDER / "mlflow.yaml") if one["kind"] == "Deployment"]
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


@pytest.fixture
def mlflow_port(tmp_path: Path) -> Iterator[int]:
    """Of the server that the pod runs, on loopback and with its disk in a folder."""
    (container,) = mlflow_pod()["spec"]["containers"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    arguments = [argument.replace("/mlflow", str(tmp_path)) for argument in container["args"]]
    for given, here in (("--host=0.0.0.0", "--host=127.0.0.1"), ("--port=5000", f"--port={port}")):
        arguments[arguments.index(given)] = here
    variables = os.environ | {one["name"]: one["value"] for one in container["env"]}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *container["command"], *arguments],
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        deadline = time.monotonic() + 120
        while answer(port, container["readinessProbe"]["httpGet"]["path"], "10.1.2.3:5000") != 200:
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answer(port: int, path: str, host: str) -> int | None:
    """The status of an answer to whoever calls the server by the name `host`; none where nobody answers."""
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.cluster
def test_mlflow_serves_whoever_calls_it_by_its_name_and_nobody_else(mlflow_port: int) -> None:
    """No page elsewhere gets at it by a name of its own that leads here."""
    path = "/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    settings = documents(FOLDER / "settings.yaml")[0]["data"]
    named = settings["MLFLOW_TRACKING_URI"].removeprefix("http://")
    hosts = (named, "localhost:5000", "elsewhere.example")
    assert [answer(mlflow_port, path, host) for host in hosts] == [200, 200, 403]


def test_only_pods_of_ray_reach_mlflow() -> None:
    pod = mlflow_pod()
    (policy,) = [one for one in documents(FOLDER / "mlflow.yaml") if one["kind"] == "NetworkPolicy"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (rule,) = policy["spec"]["ingress"][0]["from"]
    for group in (cluster_of("raycluster.yaml")["headGroupSpec"], *cluster_of("raycluster.yaml")["workerGroupSpecs"]):
        assert rule["podSelector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", ["rayjob.yaml", "rayjob-s3.yaml"])
def test_the_job_is_a_command_that_exists(name: str) -> None:
    (document,) = documents(FOLDER / name)
    program, command, *rest = document["spec"]["entrypoint"].split()
    assert (program, command, rest[:2]) == ("reid", "pipeline", ["--preset", "paper"])
    assert set(rest[2::2]) == {"--set"}
    config = load_config(preset="paper", overrides=rest[3::2])
    assert config.scaling.accelerator == "gpu"
    mounts = cluster_of(name)["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert any(str(config.data.source).startswith(mount["mountPath"]) for mount in mounts)
