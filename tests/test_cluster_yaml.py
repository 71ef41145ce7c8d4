"""`cluster.yaml` against Ray's own validation; Ray does not look inside `node_config`."""

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).parents[1] / "cluster.yaml"
REPLACED_LOCALLY = ("provider", "auth", "docker", "initialization_commands", "available_node_types", "head_node_type")


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


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


def test_the_variant_for_own_machines_is_accepted(cluster: dict[str, Any]) -> None:
    variant = yaml.safe_load("\n".join(re.findall(r"^#local: (.*)$", FILE.read_text(), flags=re.MULTILINE)))
    kept = {key: value for key, value in cluster.items() if key not in REPLACED_LOCALLY}
    prepared = check(kept | variant)
    assert prepared["provider"]["type"] == "local"
    assert prepared["max_workers"] == len(variant["provider"]["worker_ips"])


def test_every_service_asks_for_the_token_and_none_listens_everywhere(cluster: dict[str, Any]) -> None:
    starts = [command for command in commands(cluster) if "ray start" in command]
    assert len(starts) == 2
    assert all(command.startswith("RAY_AUTH_MODE=token ") for command in starts)
    assert "0.0.0.0" not in "".join(starts)  # noqa: S104
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_nodes_install_the_pinned_packages(cluster: dict[str, Any]) -> None:
    assert any("pip install --constraint constraints.txt ." in command for command in cluster["setup_commands"])
    pinned = dict(line.split("==") for line in (FILE.parent / "constraints.txt").read_text().split() if "==" in line)
    assert cluster["docker"]["image"].startswith(f"rayproject/ray:{pinned['ray']}-py311")
