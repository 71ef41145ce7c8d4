"""SQLite on a network file system: a warning where one node has it to itself, an error where several would share it."""

import re
from pathlib import Path

import pytest
import ray

from reid.cluster import on_several_nodes, require_lockable
from reid.config import ConfigError, load_config
from reid.experiments.experiment import Workspace
from reid.search import open_study
from reid.storage import mounts

ALONE, JOINED = {"NodeManagerAddress": "127.0.0.1"}, {"NodeManagerAddress": "10.0.0.7"}


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All folders lie on NFS."""
    monkeypatch.setattr(mounts, "_file_system", lambda path: "nfs4")


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster of a head node that others can join."""
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: [JOINED])


@pytest.mark.parametrize(("nodes", "several"), [([ALONE], False), ([JOINED], True), ([JOINED, JOINED], True)])
def test_a_cluster_on_loopback_is_one_nodes(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, str]], several: bool
) -> None:
    assert not on_several_nodes()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert on_several_nodes() == several


@pytest.mark.usefixtures("network")
def test_one_node_is_warned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    require_lockable("tracking.uri", tmp_path / "mlflow.db", "set it")
    (said,) = caplog.messages
    assert re.search(r"^tracking\.uri: .*/mlflow\.db lies on a network file system \(nfs4\)", said)
    assert said.endswith("only while one machine opens it: else set it")


@pytest.mark.usefixtures("joined")
def test_a_disk_of_the_node_is_nobodys_concern(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    require_lockable("tracking.uri", tmp_path / "mlflow.db", "set it")
    assert caplog.messages == []


@pytest.mark.usefixtures("network", "joined")
def test_records_go_into_no_file_that_several_nodes_would_open(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(preset="smoke", overrides=["scaling.num_workers=0"])
    remedy = rf"tracking\.uri: .*{storage}/mlflow\.db .* MLFLOW_TRACKING_URI to the address of an MLflow server"
    with pytest.raises(ConfigError, match=remedy):
        Workspace.open(config, [config.scaling])
    assert not (storage / "mlflow.db").exists()
    assert not (storage / "sources").exists(), "it was refused after the work had begun"


@pytest.mark.usefixtures("network", "joined")
def test_no_study_lies_where_several_nodes_would_open_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^search\.study: .*study\.db .* REID_STUDY .* PostgreSQL database$"):
        open_study(f"sqlite:///{tmp_path}/study.db", "walk", ["mAP"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("network")
def test_a_study_of_one_node_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_study(f"sqlite:///{tmp_path}/study.db", "walk", ["mAP"])
    assert "search.study" in caplog.text
