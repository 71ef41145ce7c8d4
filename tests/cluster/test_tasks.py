"""Tasks on a cluster of two nodes, which share this machine's disk."""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from reid.cluster import map_on_cluster, nodes_that_see
from reid.cluster.tasks import NODE_LABEL
from reid.data import map_in_process, open_dataset, open_store, prepare
from reid.embedded import SIZES, render_market1501
from reid.storage import Place, Storage

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def nodes(s3: Callable[[str], str]) -> Iterator[list[str]]:
    """Ids of the nodes, of one CPU each, which have the environment that the S3 server is reached by."""
    folder = tempfile.mkdtemp(prefix="r")  # short: it holds Unix sockets
    head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        yield [node["NodeID"] for node in ray.nodes()]  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def test_tasks_keep_to_the_nodes_that_are_named(nodes: list[str]) -> None:
    def where(_: object) -> str:
        return str(ray.get_runtime_context().get_node_id())

    assert all(node["Labels"][NODE_LABEL] == node["NodeID"] for node in ray.nodes())  # type: ignore[no-untyped-call]
    for node in nodes:
        assert set(map_on_cluster(where, range(4), [node])) == {node}
    assert set(map_on_cluster(where, range(8), nodes)) <= set(nodes)


def test_nodes_that_see_a_folder(nodes: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert sorted(nodes_that_see(tmp_path)) == sorted(nodes)


def test_a_remote_store_is_prepared_by_all_nodes_as_by_one_process(
    nodes: list[str], tmp_path: Path, s3: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    render_market1501(tmp_path / "source", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    root = Place(s3("spread"))
    monkeypatch.setenv("REID_STORAGE", root)
    on_nodes = functools.partial(map_on_cluster, nodes=nodes_that_see(tmp_path / "source"))
    prepare("embedded", tmp_path / "source", root / "stores" / "a", height=32, width=16, map_tasks=on_nodes)
    alone = prepare("embedded", tmp_path / "source", tmp_path / "store", height=32, width=16)
    spread = open_store(root / "stores" / "a", Storage(os.environ["REID_STORAGE"]))
    assert spread.digest == alone.digest
    assert open_dataset(spread.path, verify=True).splits.keys() == alone.splits.keys()
