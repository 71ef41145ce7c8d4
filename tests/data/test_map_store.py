"""Maps that are computed once for each image, and shared."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.data import DataError, MapStore, map_stores, prepare
from reid.data.map_store import COLUMN, FOLDER
from reid.data.shards import write_shard
from reid.storage import Storage

ROWS, CHUNK = 11, 4
CHUNKS = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
FILES = [f"train-{number:05d}.arrow" for number in range(3)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid.data.map_store.CHUNK_ROWS", CHUNK)


class Net:
    """Every image's map is its own; what is computed is counted."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.asked: list[list[int]] = []

    def __call__(self, indices: NDArray[np.int64]) -> Tensor:
        self.asked.append(indices.tolist())
        return maps_of(indices).to(self.dtype)


def maps_of(indices: NDArray[np.int64]) -> Tensor:
    return 100.0 * torch.tensor(indices.tolist())[:, None, None, None] + torch.arange(12.0).reshape(2, 3, 2)


def store_in(storage: Storage, rows: int = ROWS) -> MapStore:
    return MapStore(folder=storage.scratch / FOLDER / "digest", split="train", rows=rows)


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "storage"))


@pytest.fixture
def on_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Storage]:
    """The same remote storage, on a node with a disk of its own."""

    def storage(node: str) -> Storage:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / node))
        return Storage((tmp_path / "bucket").as_uri())

    return storage


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_maps_are_computed_once_and_found_in_any_order(local: Storage, dtype: torch.dtype) -> None:
    net = Net(dtype)
    for _ in range(2):
        store_in(local).complete(net, local)
    assert net.asked == CHUNKS
    store = store_in(local)
    order = np.array([10, 3, 0, 4, 4, 9, 7, 1])
    for indices in (order, np.flip(order), np.array([2]), np.arange(ROWS)):
        gathered = store.gather(indices)
        assert gathered.dtype == torch.float32
        assert torch.equal(gathered, maps_of(indices).to(dtype).float())
    assert sorted(path.name for path in store.folder.iterdir()) == FILES


def textures_of(indices: NDArray[np.int64]) -> Tensor:
    return (maps_of(indices).permute(0, 2, 3, 1) % 256).to(torch.uint8)


def test_textures_are_kept_as_the_bytes_that_they_are(local: Storage) -> None:
    store_in(local).complete(textures_of, local)
    gathered = store_in(local).gather([10, 3, 0])
    assert gathered.dtype == torch.uint8
    assert torch.equal(gathered, textures_of(np.array([10, 3, 0])))


def test_ranks_share_the_work(local: Storage) -> None:
    nets = Net(), Net()
    for rank in (1, 0):
        store_in(local).complete(nets[rank], local, share=(rank, 2))
    assert [net.asked for net in nets] == [[CHUNKS[0], CHUNKS[2]], [CHUNKS[1]]]
    store = store_in(local)
    store.fetch(local)
    assert torch.equal(store.gather(np.arange(ROWS)), maps_of(np.arange(ROWS)))


def test_one_ranks_share_is_not_the_whole(local: Storage) -> None:
    store = store_in(local)
    store.complete(Net(), local, share=(1, 2))
    with pytest.raises(DataError, match=rf"the maps .*{FILES[0]} are missing: start the run again"):
        store.fetch(local)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def of_other_rows(file: Path) -> None:
    write_shard(file, {COLUMN: np.zeros((CHUNK + 1, 2, 3, 2), np.float32)})


def no_maps(file: Path) -> None:
    file.write_bytes(b"half")


@pytest.mark.parametrize("damage", [cut_short, of_other_rows, no_maps, Path.unlink])
@pytest.mark.parametrize("number", [0, 2])
def test_a_damaged_chunk_is_computed_again(local: Storage, damage: Callable[[Path], None], number: int) -> None:
    store_in(local).complete(Net(), local)
    damage(store_in(local).folder / FILES[number])
    with pytest.raises(DataError, match=FILES[number]):
        store_in(local).fetch(local)
    net, store = Net(), store_in(local)
    store.complete(net, local)
    assert net.asked == [CHUNKS[number]]
    assert torch.equal(store.gather(np.arange(ROWS)), maps_of(np.arange(ROWS)))


def test_an_interrupted_computation_goes_on_where_it_was(local: Storage) -> None:
    def interrupted(indices: NDArray[np.int64]) -> Tensor:
        if indices[0] == CHUNKS[1][0]:
            raise KeyboardInterrupt
        return maps_of(indices)

    with pytest.raises(KeyboardInterrupt):
        store_in(local).complete(interrupted, local)
    net = Net()
    store_in(local).complete(net, local)
    assert net.asked == CHUNKS[1:]


def test_nodes_share_what_they_compute(on_node: Callable[[str], Storage], tmp_path: Path) -> None:
    nets, stores = [], []
    for rank, node in enumerate(("first", "second")):
        storage, net = on_node(node), Net()
        assert not storage.is_local
        stores.append(store_in(storage))
        stores[-1].complete(net, storage, share=(rank, 2))
        nets.append(net)
    assert sorted(nets[0].asked + nets[1].asked) == CHUNKS
    for node, store in zip(("first", "second"), stores, strict=True):
        store.fetch(on_node(node))
        assert store.folder.is_relative_to(tmp_path / node)
        assert torch.equal(store.gather(np.arange(ROWS)), maps_of(np.arange(ROWS)))
    late, storage = Net(), on_node("third")
    store_in(storage).complete(late, storage)
    assert not late.asked
    assert torch.equal(store_in(storage).gather([8, 2]), maps_of(np.array([8, 2])))


@pytest.mark.parametrize("damage", [cut_short, of_other_rows, no_maps, Path.unlink])
def test_a_damaged_remote_chunk_is_computed_again_and_replaced(
    on_node: Callable[[str], Storage], damage: Callable[[Path], None], tmp_path: Path
) -> None:
    storage = on_node("first")
    store_in(storage).complete(Net(), storage)
    damage(tmp_path / "bucket" / FOLDER / "digest" / FILES[1])

    storage = on_node("second")
    with pytest.raises(DataError, match=FILES[1]):
        store_in(storage).fetch(storage)
    net = Net()
    store_in(storage).complete(net, storage)
    assert net.asked == [CHUNKS[1]]

    storage = on_node("third")
    store_in(storage).fetch(storage)
    assert torch.equal(store_in(storage).gather(np.arange(ROWS)), maps_of(np.arange(ROWS)))


def test_maps_belong_to_a_dataset_a_split_and_a_key(market_once: Path, tmp_path: Path, local: Storage) -> None:
    dataset = prepare("embedded", market_once, tmp_path / "store")
    again = prepare("embedded", market_once, tmp_path / "again", encoding="compressed")
    stores = map_stores(dataset, "net/1", local)
    assert {split: (store.split, store.rows) for split, store in stores.items()} == {
        split: (split, len(rows)) for split, rows in dataset.splits.items()
    }
    assert map_stores(dataset, "net/1", local) == stores
    folders = {
        store.folder
        for store in (
            *stores.values(),
            *map_stores(dataset, "net/2", local).values(),
            *map_stores(again, "net/1", local).values(),
        )
    }
    assert len(folders) == 3
    assert all(folder.parent == local.scratch / FOLDER for folder in folders)
    for store in stores.values():
        store.complete(Net(), local)
    assert sum(1 for _ in stores["train"].folder.iterdir()) == sum(-(-store.rows // CHUNK) for store in stores.values())
