import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reid.data import DataError, Dataset, open_dataset, prepare
from reid.data.shards import map_shard, numeric


@pytest.fixture(scope="module")
def prepared(market_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "market"
    prepare("embedded", market_once, folder)
    return folder


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "store"))


def test_a_gather_is_an_independent_copy(prepared: Path) -> None:
    train = open_dataset(prepared).splits["train"]
    images = train.gather([3, 3, 0])
    assert (images[0] == images[1]).all()
    before = images[0].clone()
    images[0] = 0
    assert (images[1] == before).all()
    assert (train.gather([3])[0] == before).all()
    assert train.gather([]).shape == (0, 128, 64, 3)


def test_indices_outside_are_refused(prepared: Path) -> None:
    train = open_dataset(prepared).splits["train"]
    for indices in ([12], [-1], [0, 99]):
        with pytest.raises(IndexError, match=r"0\.\.11"):
            train.gather(indices)


def test_images_are_mapped_not_copied(prepared: Path) -> None:
    column = map_shard(prepared / "train-00000.arrow").column("image")
    view = numeric(column)
    assert not view.flags.owndata
    assert not view.flags.writeable
    start = view.__array_interface__["data"][0]
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith("train-00000.arrow")]
    assert any(int(low, 16) <= start < int(high, 16) for low, high in ranges)


def pids_of(dataset: Dataset) -> tuple[str, list[int], int]:
    train = dataset.splits["train"]
    return dataset.digest, train.pids_N.tolist(), int(train.gather([5]).sum())


def test_it_travels_as_its_path(prepared: Path) -> None:
    dataset = open_dataset(prepared)
    here = pids_of(dataset)  # maps the shards
    assert len(pickle.dumps(dataset)) < 1000
    arrived = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert arrived is not dataset
    assert pids_of(arrived) == here


def test_a_replaced_store_is_noticed_on_arrival(store: Path, coco_once: Path) -> None:
    sent = pickle.dumps(open_dataset(store))
    shutil.rmtree(store)
    prepare("coco", coco_once, store, height=64, width=32)
    with pytest.raises(DataError, match="was replaced by another dataset"):
        pickle.loads(sent)  # noqa: S301


def change_manifest(store: Path, change: Callable[[dict[str, object]], object]) -> None:
    fields = json.loads((store / "manifest.json").read_text())
    change(fields)
    (store / "manifest.json").write_text(json.dumps(fields))


def flip_a_bit(store: Path) -> None:
    content = bytearray((store / "gallery-00000.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (store / "gallery-00000.arrow").write_bytes(content)


def cut_short(store: Path) -> None:
    path = store / "gallery-00000.arrow"
    path.write_bytes(path.read_bytes()[:-1])


def remove_shard(store: Path) -> None:
    (store / "gallery-00000.arrow").unlink()


def newer(store: Path) -> None:
    change_manifest(store, lambda fields: fields.update(schema_version=4, columns="new in version 4"))


def older(store: Path) -> None:
    change_manifest(store, lambda fields: fields.update(schema_version=1))


def misspelt(store: Path) -> None:
    change_manifest(store, lambda fields: fields.pop("encoding"))


def cut_manifest(store: Path) -> None:
    (store / "manifest.json").write_text((store / "manifest.json").read_text()[:100])


def another_height(store: Path) -> None:
    change_manifest(store, lambda fields: fields.update(height=256))


def no_manifest(store: Path) -> None:
    (store / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "prepare it first"),
        (no_manifest, "prepare it first"),
        (cut_manifest, "manifest.json is damaged, delete the folder and prepare again"),
        (misspelt, "manifest.json is damaged"),
        (another_height, "manifest.json is damaged"),
        (newer, "upgrade"),
        (older, "older version of reid: delete the folder and prepare again"),
        (remove_shard, "gallery-00000.arrow is missing"),
        (cut_short, "gallery-00000.arrow has"),
        (flip_a_bit, "gallery-00000.arrow is damaged"),
    ],
)
def test_damage_is_named_with_the_remedy(store: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(store)
    with pytest.raises(DataError) as error:
        open_dataset(store)
    assert said in str(error.value)
    assert str(store) in str(error.value)
    assert "prepare" in str(error.value)


def test_sizes_are_checked_without_reading(store: Path) -> None:
    flip_a_bit(store)
    open_dataset(store, verify="sizes")
    cut_short(store)
    with pytest.raises(DataError, match="gallery-00000"):
        open_dataset(store, verify="sizes")


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/passwd", "folder/inside.arrow", "..", ".hidden.arrow"])
def test_shards_must_lie_in_the_store(store: Path, name: str) -> None:
    change_manifest(store, lambda fields: fields["splits"]["train"]["shards"][0].update(file=name))  # type: ignore[index]
    with pytest.raises(DataError, match="damaged"):
        open_dataset(store)


def test_no_file_is_arrow_but_in_name(store: Path) -> None:
    path = store / "train-00000.arrow"
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))
    with pytest.raises(DataError, match="a shard is damaged"):
        open_dataset(store, verify="sizes").splits["train"].gather([0])
