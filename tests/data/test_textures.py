"""Textures in a store, and in batches: the right one for each image, once, mirrored where its image is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from reid.config import AugmentationConfig, DataConfig
from reid.config.manifests import manifest_folder
from reid.data import DataError, Dataset, ReIDBatches, balanced_batches, open_dataset, prepare, rank_slice
from reid.data.shards import map_shard, numeric, write_batch
from reid.data.store import Encoding, content_digest
from reid.data.transforms import draw

SIDE = 128
EVERYTHING = DataConfig(
    height=SIDE, width=64, augmentation=AugmentationConfig(flip=0.5, pad=4, erase=0.6, colour=0.3)
)  # fmt: skip


@pytest.fixture(scope="module")
def reid(market_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare("embedded", market_once, tmp_path_factory.mktemp("textures") / "store")


@pytest.fixture
def store(reid: Dataset, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reid.path, tmp_path / "store"))


def texture_in(source: Path, pid: int) -> NDArray[np.uint8]:
    return np.asarray(Image.open(source / "textures" / f"{pid:04d}.png").convert("RGB"))


@pytest.mark.parametrize("encoding", ["raw", "compressed"])
@pytest.mark.parametrize("limits", [{}, {"CHUNK_ROWS": 2, "SHARD_BYTES": 60_000}])
def test_every_image_has_its_person_s_texture(
    market_once: Path, tmp_path: Path, encoding: Encoding, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(f"reid.data.preparation.{name}", value)
    dataset = prepare("embedded", market_once, tmp_path / "store", encoding=encoding)
    assert (dataset.has_textures, dataset.texture_side, dataset.texture_layout) == (True, SIDE, "embedded")
    assert len(list(dataset.path.glob("train-textures-*.arrow"))) == (2 if limits else 1)
    for split in dataset.splits.values():
        known = np.flatnonzero(split.pids_N > 0)
        order = np.random.default_rng(0).permutation(known)
        textures = split.textures(order)
        assert (textures.dtype, textures.shape) == (torch.uint8, (len(order), SIDE, SIDE, 3))
        for row, texture in zip(order, textures, strict=True):
            np.testing.assert_array_equal(texture, texture_in(market_once, split.pids_N[row]))
        assert split.texture_layout == "embedded"
        assert not split.has_seen
    assert open_dataset(dataset.path, verify=True).digest == dataset.digest


def test_a_texture_is_stored_once_and_mapped(reid: Dataset) -> None:
    manifest = json.loads((reid.path / "manifest.json").read_text())
    stored = {split: sum(shard["rows"] for shard in fields["textures"]) for split, fields in manifest["splits"].items()}
    assert stored == {"train": 3, "query": 2, "gallery": 2}
    train = reid.splits["train"]
    assert sorted(set(train.texture_rows_N.tolist())) == [0, 1, 2]
    for pid in np.unique(train.pids_N):
        assert len(set(train.texture_rows_N[train.pids_N == pid].tolist())) == 1
    view = numeric(map_shard(reid.path / "train-textures-00000.arrow").column("texture"))
    assert view.shape == (3, SIDE, SIDE, 3)
    assert not view.flags.owndata


def test_distractors_have_none(reid: Dataset) -> None:
    gallery = reid.splits["gallery"]
    assert ((gallery.texture_rows_N < 0) == (gallery.pids_N == 0)).all()
    assert [split.has_textures for split in reid.splits.values()] == [True, True, False]
    with pytest.raises(DataError, match=rf"there is no texture of {gallery.names[1]}: leave it out, or give it one"):
        gallery.textures([4, 1])
    batches = ReIDBatches(reid, "gallery", EVERYTHING, device="cpu")
    assert batches.training(np.arange(6), slice(0, 6), seed=0, epoch=0, step=0).textures_BCHW is None
    assert len(batches.textures([2, 3])) == 2
    for outside in ([6], [-1]):
        with pytest.raises(IndexError, match=r"0\.\.5"):
            gallery.textures(outside)


def test_textures_of_another_size_are_stored_at_the_height_of_the_images(market: Path, tmp_path: Path) -> None:
    path = market / "textures" / "0007.png"
    Image.open(path).resize((50, 50)).save(path)
    train = prepare("embedded", market, tmp_path / "store").splits["train"]
    expected = np.asarray(Image.open(path).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(train.textures(np.flatnonzero(train.pids_N == 7)[:1])[0], expected)


def without_textures(market_once: Path, folder: Path) -> Dataset:
    fields = yaml.safe_load((manifest_folder() / "embedded.yaml").read_text()) | {"textures": None}
    (folder / "bare.yaml").write_text(yaml.safe_dump(fields))
    return prepare(str(folder / "bare.yaml"), market_once, folder / "store")


def test_where_the_manifest_names_none_there_are_none(market_once: Path, tmp_path: Path) -> None:
    dataset = without_textures(market_once, tmp_path)
    assert (dataset.has_textures, dataset.texture_side, dataset.texture_layout) == (False, 0, None)
    train = dataset.splits["train"]
    assert not train.has_textures
    assert (train.texture_rows_N == -1).all()
    batches = ReIDBatches(dataset, "train", EVERYTHING, device="cpu", textures=True)
    with pytest.raises(DataError, match="bare has no textures of its people: name a folder of them as `textures`"):
        batches.textures([0])
    with pytest.raises(DataError, match="it is not known which texels the images show"):
        train.seen([0])


def test_pairs_say_what_their_images_show(pairs_once: Path, tmp_path: Path) -> None:
    dataset = prepare("texture_pairs", pairs_once, tmp_path / "store", height=64, width=32)
    train, val = dataset.splits["train"], dataset.splits["val"]
    assert (train.has_textures, train.has_seen, val.has_textures, val.has_seen) == (True, False, True, True)
    assert (train.names, train.texture_rows_N.tolist()) == (
        [f"{person}_{image}.jpg" for person in "abc" for image in (1, 2)],
        [0, 0, 1, 1, 2, 2],
    )
    seen = val.seen([1, 0])
    assert (seen.dtype, seen.shape) == (torch.bool, (2, 64, 64))
    for mask, name in zip(seen, ("e_1", "d_1"), strict=True):
        np.testing.assert_array_equal(mask, np.asarray(Image.open(pairs_once / "val" / "seen" / f"{name}.png")))
    np.testing.assert_array_equal(
        val.textures([0])[0], np.asarray(Image.open(pairs_once / "val" / "textures" / "d.png").convert("RGB"))
    )
    half = prepare("texture_pairs", pairs_once, tmp_path / "half", height=32, width=16).splits["val"].seen([0])[0]
    shares = val.seen([0])[0].float().reshape(32, 2, 32, 2).mean(dim=(1, 3))
    assert (half == (shares >= 0.5)).all(), "a texel is seen if half of it is"


class OwnTextures:
    """The texture of every image tells its row."""

    def gather(self, indices: ArrayLike) -> Tensor:
        rows = torch.tensor(np.asarray(indices).tolist(), dtype=torch.uint8)
        return rows[:, None, None, None] + torch.arange(8, dtype=torch.uint8)[None, None, :, None].expand(1, 8, 8, 3)


@pytest.mark.parametrize("layout", ["embedded", None])
def test_attached_textures_come_in_place_of_the_store_s_own(reid: Dataset, layout: str | None) -> None:
    train = open_dataset(reid.path).splits["train"]
    train.attach(textures=OwnTextures(), texture_layout=layout)
    assert train.has_textures
    assert train.texture_layout == layout
    assert torch.equal(train.textures([5, 2]), OwnTextures().gather([5, 2]))
    assert train.maps is None
    train.attach(OwnTextures())
    assert train.maps is not None
    assert train.texture_layout == layout, "what is not given stays"


def test_a_dataset_without_textures_takes_attached_ones(market_once: Path, tmp_path: Path) -> None:
    dataset = without_textures(market_once, tmp_path)
    dataset.splits["train"].attach(textures=OwnTextures(), texture_layout="embedded")
    batches = ReIDBatches(
        dataset, "train", EVERYTHING.model_copy(update={"height": 8, "width": 8}), device="cpu", textures=True
    )
    expected = OwnTextures().gather([3, 1]).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(batches.textures([3, 1]), expected)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("layout", ["embedded", None])
def test_textures_are_mirrored_where_their_images_are_and_nothing_else(
    reid: Dataset, world: int, layout: str | None
) -> None:
    dataset = open_dataset(reid.path)
    stored = dataset.splits["train"]
    if layout is None:

        class Foreign:
            def gather(self, indices: ArrayLike) -> Tensor:
                return reid.splits["train"].textures(indices)

        stored.attach(textures=Foreign())
    batches = ReIDBatches(dataset, "train", EVERYTHING, device="cpu", textures=True)
    indices = balanced_batches(batches.split.pids_N, 3, 2, seed=1, epoch=4)[1]
    flipped = draw(EVERYTHING.augmentation, 6, (SIDE, 64), seed=1, epoch=4, step=1).flip_B.tolist()
    assert 0 < sum(flipped) < 6
    parts = [
        batches.training(indices, rank_slice(6, rank, world, unit=2), seed=1, epoch=4, step=1).textures_BCHW
        for rank in range(world)
    ]
    textures = torch.cat([part for part in parts if part is not None])
    assert (textures.dtype, textures.shape) == (torch.float32, (6, 3, SIDE, SIDE))
    for texture, row, is_flipped in zip(textures, indices, flipped, strict=True):
        expected = stored.textures([row])[0].numpy().astype(np.float64) / 127.5 - 1
        if is_flipped and layout is not None:
            expected = expected[:, ::-1]
        np.testing.assert_allclose(texture.permute(1, 2, 0), expected, atol=1e-6)
    assert -1 <= textures.min() < -0.5 < 0.5 < textures.max() <= 1
    unflipped = batches.textures(indices)
    torch.testing.assert_close(unflipped.permute(0, 2, 3, 1), stored.textures(indices) / 127.5 - 1)


def test_textures_come_along_where_they_are_asked_for(reid: Dataset) -> None:
    batches = ReIDBatches(reid, "train", EVERYTHING, device="cpu")
    assert batches.training(np.arange(6), slice(0, 6), seed=0, epoch=0, step=0).textures_BCHW is None


def test_textures_are_as_high_as_the_input(reid: Dataset) -> None:
    config = DataConfig(height=64, width=32, augmentation=AugmentationConfig(flip=1))
    batches = ReIDBatches(reid, "train", config, device="cpu", textures=True)
    batch = batches.training(np.arange(4), slice(0, 4), seed=0, epoch=0, step=0)
    assert batch.textures_BCHW is not None
    assert batch.textures_BCHW.shape == (4, 3, 64, 64)
    torch.testing.assert_close(batch.textures_BCHW, batches.textures(np.arange(4)).flip(3))
    assert len(batch.inputs) == 1, "what a model is called with"


def change_manifest(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads((store / "manifest.json").read_text())
    change(fields)
    (store / "manifest.json").write_text(json.dumps(fields | {"digest": content_digest(fields)}))


def replace_column(store: Path, file: str, name: str, values: pa.Array) -> None:
    batch = map_shard(store / file)
    table = pa.Table.from_batches([batch]).set_column(batch.schema.get_field_index(name), name, values)
    write_batch(store / file, table.combine_chunks().to_batches()[0])
    change_manifest(
        store,
        lambda fields: [
            shard.update(bytes=(store / file).stat().st_size)
            for split in fields["splits"].values()
            for shard in split["shards"] + split["textures"]
            if shard["file"] == file
        ],
    )


def no_shard(store: Path) -> None:
    (store / "train-textures-00000.arrow").unlink()


def cut_short(store: Path) -> None:
    path = store / "train-textures-00000.arrow"
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(store: Path) -> None:
    content = bytearray((store / "train-textures-00000.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (store / "train-textures-00000.arrow").write_bytes(content)


def no_side(store: Path) -> None:
    change_manifest(store, lambda fields: fields.update(texture_side=0))


def no_shards(store: Path) -> None:
    change_manifest(store, lambda fields: [split.update(textures=[]) for split in fields["splits"].values()])


def unknown_layout(store: Path) -> None:
    change_manifest(store, lambda fields: fields.update(texture_layout="smplx"))


def outside(store: Path) -> None:
    change_manifest(store, lambda fields: fields["splits"]["train"]["textures"][0].update(file="../t.arrow"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_shard, "train-textures-00000.arrow is missing"),
        (cut_short, "train-textures-00000.arrow has"),
        (flip_a_bit, "train-textures-00000.arrow is damaged"),
        (no_side, "texture_side is 0, which does not fit the textures of the splits"),
        (no_shards, "texture_side is 128, which does not fit the textures of the splits"),
        (unknown_layout, "invalid texture_layout, expected one of embedded"),
        (outside, "file: String should match pattern"),
    ],
)
def test_damage_is_named_with_the_remedy(store: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(store)
    with pytest.raises(DataError) as error:
        open_dataset(store)
    assert said in str(error.value)
    assert str(store) in str(error.value)
    assert "prepare again" in str(error.value)


@pytest.mark.parametrize(
    ("file", "name", "values", "said"),
    [
        (
            "train-00000.arrow",
            "texture",
            pa.array([0] * 11 + [3]),
            r"its column texture counts 0\.\.3, and there are 3",
        ),
        ("train-00000.arrow", "texture", pa.array([0] * 11 + [-2]), r"its column texture counts -2\.\.0"),
        ("train-00000.arrow", "texture", pa.array([0.0] * 12), "its column texture holds double instead of int64"),
        ("train-00000.arrow", "texture", pa.array([0] * 11 + [None], pa.int64()), "its column texture holds int64"),
        ("train-textures-00000.arrow", "texture", pa.array([1, 2, 3]), "its column texture holds int64 instead of"),
    ],
)
def test_columns_that_cannot_be_meant(store: Path, file: str, name: str, values: pa.Array, said: str) -> None:
    replace_column(store, file, name, values)
    with pytest.raises(DataError, match=f"a shard is damaged, delete the folder and prepare again: {said}"):
        open_dataset(store, verify="sizes").splits["train"].textures([11])


def test_masks_of_another_size_are_damage(pairs_once: Path, tmp_path: Path) -> None:
    store = prepare("texture_pairs", pairs_once, tmp_path / "store", height=64, width=32).path
    change_manifest(store, lambda fields: fields["splits"]["train"].update(seen=True))
    with pytest.raises(DataError, match="its column seen holds None instead of"):
        open_dataset(store, verify="sizes").splits["train"].seen([0])
    change_manifest(store, lambda fields: fields["splits"]["val"].update(textures=[]))
    with pytest.raises(DataError, match="texels are seen, and there are no textures"):
        open_dataset(store)
