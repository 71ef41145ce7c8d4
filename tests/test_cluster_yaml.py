"""`cluster.yaml` and its variants against Ray's own validation; `node_config`, into which Ray does not look, against
what Amazon says of the call that it becomes.
"""

import copy
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from mlflow.cli import server as mlflow_server
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).parents[1] / "cluster.yaml"
FILES = {"efs": FILE, "s3": FILE.parent / "deploy" / "cluster-s3.yaml"}
REPLACED_LOCALLY = ("provider", "auth", "docker", "initialization_commands", "available_node_types", "head_node_type")


@pytest.fixture(params=FILES)
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def read(variant: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(FILES[variant].read_text())
    return tree


def check(config: dict[str, Any]) -> dict[str, Any]:
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def commands(config: dict[str, Any]) -> list[str]:
    return config["head_start_ray_commands"] + config["worker_start_ray_commands"]


def test_ray_accepts_the_file(cluster: dict[str, Any]) -> None:
    prepared = check(cluster)
    assert prepared["available_node_types"]["gpu_worker"]["max_workers"] == cluster["max_workers"]


@pytest.mark.parametrize("section", ["top level", "auth", "docker"])
def test_ray_rejects_a_misspelt_key(cluster: dict[str, Any], section: str) -> None:
    cluster.get(section, cluster)["idle_timeout_minute"] = 3
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minute"):
        check(cluster)


def test_the_variant_for_own_machines_is_accepted() -> None:
    cluster = read("efs")
    variant = yaml.safe_load("\n".join(re.findall(r"^#local: (.*)$", FILE.read_text(), flags=re.MULTILINE)))
    kept = {key: value for key, value in cluster.items() if key not in REPLACED_LOCALLY}
    prepared = check(kept | variant)
    assert prepared["provider"]["type"] == "local"
    assert prepared["max_workers"] == len(variant["provider"]["worker_ips"])


def test_every_service_asks_for_the_token_and_none_listens_everywhere(cluster: dict[str, Any]) -> None:
    starts = [command for command in commands(cluster) if "ray start" in command]
    assert len(starts) == 2
    assert all(" RAY_AUTH_MODE=token ray start " in command for command in starts)
    assert "0.0.0.0" not in "".join(starts)  # noqa: S104
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_nodes_install_what_is_pinned_by_hash(cluster: dict[str, Any]) -> None:
    installed = [command for command in cluster["setup_commands"] if "pip install" in command]
    uv, packages, project = installed
    assert re.fullmatch(r"pip install uv==[\d.]+", uv)
    assert uv.removeprefix("pip install uv==") in (FILE.parent / "Dockerfile").read_text()
    assert "--require-hashes --constraint requirements.lock --requirement pyproject.toml" in packages
    assert "--no-deps --build-constraint requirements.lock ." in project
    pinned = dict(line.split("==") for line in (FILE.parent / "constraints.txt").read_text().split() if "==" in line)
    assert cluster["docker"]["image"].startswith(f"rayproject/ray:{pinned['ray']}-py311")


def run_instances(node_config: dict[str, Any]) -> str:
    """What Amazon's description of RunInstances has against a `node_config`; Ray adds how many."""
    call = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2").operation_model("RunInstances")
    report = ParamValidator().validate(node_config | {"MinCount": 1, "MaxCount": 1}, call.input_shape)
    return str(report.generate_report())


def test_amazon_knows_every_setting_of_a_node(cluster: dict[str, Any]) -> None:
    for node_type in cluster["available_node_types"].values():
        assert run_instances(node_type["node_config"]) == ""


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("InstancType",), "m5.large"),
        (("InstanceMarketOptions", "MarketTyp"), "spot"),
        (("BlockDeviceMappings", 0, "Ebs", "VolumSize"), 300),
        (("BlockDeviceMappings", 0, "Ebs", "VolumeSize"), "300 GB"),
    ],
)
def test_a_misspelt_setting_of_a_node_is_found(path: tuple[str | int, ...], wrong: Any) -> None:
    node = tree = read("efs")["available_node_types"]["gpu_worker"]["node_config"]
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = wrong
    assert str(path[-1]) in run_instances(tree)


STUB = """#!/bin/bash
printf '%s\\n' "$@" > "$0.arguments"
env > "$0.environment"
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A folder of programs that note how they were called, for a node whose private address is 10.0.0.5."""
    for name in ("ray", "mlflow", "hostname"):
        (tmp_path / name).write_text(STUB if name != "hostname" else "#!/bin/sh\necho '10.0.0.5 172.17.0.1 '\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def start(node: Path, commands: list[str]) -> None:
    """As `ray up` runs them, one after another, each in a shell of its own."""
    for command in commands:
        here = command.replace("/var/lib/reid", str(node))
        environment = {"PATH": f"{node}:{os.environ['PATH']}", "HOME": str(node), "RAY_HEAD_IP": "10.0.0.5"}
        subprocess.run(["bash", "-c", f"true && ({here})"], check=True, env=environment, stdin=subprocess.DEVNULL)


def called(node: Path, program: str) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment that a program was last called with."""
    arguments, environment = (node / f"{program}.{kind}" for kind in ("arguments", "environment"))
    deadline = time.monotonic() + 30
    while not (environment.exists() and environment.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    variables = dict(line.split("=", 1) for line in environment.read_text().splitlines() if "=" in line)
    return arguments.read_text().splitlines(), variables


@pytest.mark.parametrize(("variant", "storage"), [("efs", "/mnt/reid"), ("s3", "s3://CHANGE/reid")])
def test_jobs_find_storage_and_tracking_on_every_node(node: Path, variant: str, storage: str) -> None:
    """So that who submits one needs to say nothing of them."""
    shared = {"REID_STORAGE": storage, "MLFLOW_TRACKING_URI": "http://10.0.0.5:5000", "RAY_AUTH_MODE": "token"}
    start(node, read(variant)["head_start_ray_commands"])
    arguments, variables = called(node, "ray")
    assert arguments[:2] == ["start", "--head"]
    assert shared.items() <= variables.items()
    assert variables["REID_STUDY"] == f"sqlite:///{node}/study.db"
    start(node, read(variant)["worker_start_ray_commands"])
    arguments, variables = called(node, "ray")
    assert arguments == ["start", "--address=10.0.0.5:6379"]
    assert shared.items() <= variables.items()


@pytest.mark.parametrize(("variant", "artifacts"), [("efs", "/mnt/reid/"), ("s3", "s3://CHANGE/reid/")])
def test_mlflow_is_served_on_the_private_address_from_the_nodes_own_disk(
    node: Path, variant: str, artifacts: str
) -> None:
    start(node, read(variant)["head_start_ray_commands"])
    (command, *options), _ = called(node, "mlflow")
    assert command == "server"
    given = mlflow_server.make_context("server", options).params
    assert (given["host"], given["port"]) == ("10.0.0.5", 5000)
    assert given["backend_store_uri"] == f"sqlite:///{node}/mlflow.db"
    assert given["artifacts_destination"] == f"{artifacts}mlartifacts"


def test_mlflow_is_started_once(node: Path) -> None:
    """`ray up` runs the commands again on a node that it brings up to date."""
    (node / "mlflow").write_text(f"#!/bin/bash\necho $$ >> {node}/started\nexec sleep 60\n")
    commands = read("efs")["head_start_ray_commands"]
    started = node / "started"
    try:
        start(node, commands)
        deadline = time.monotonic() + 30
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        start(node, commands)
        time.sleep(1)
        assert len(started.read_text().split()) == 1
    finally:
        for process in started.read_text().split():
            os.kill(int(process), 9)


def test_a_cluster_with_a_bucket_differs_in_its_storage_alone() -> None:
    ours, theirs = read("s3"), read("efs")
    text = yaml.safe_dump(ours)
    assert "/mnt/reid" not in text
    del ours["head_setup_commands"]
    del ours["available_node_types"]["gpu_worker"]["node_config"]["IamInstanceProfile"]
    theirs["docker"]["run_options"].remove("--volume=/mnt/reid:/mnt/reid")
    for tree in (ours, theirs):
        del tree["initialization_commands"]
        for commands in (tree["head_start_ray_commands"], tree["worker_start_ray_commands"]):
            commands[:] = [
                re.sub(r"(s3://CHANGE|/mnt)/reid", "STORAGE", command.replace("AWS_DEFAULT_REGION=us-west-2 ", ""))
                for command in commands
            ]
    assert ours == theirs
