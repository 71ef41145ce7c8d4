from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import ArrayLike
from torch import Tensor

from reid.config import AugmentationConfig, DataConfig
from reid.config.manifests import manifest_folder
from reid.data import (
    DataError,
    Dataset,
    PoseBatches,
    ReIDBatches,
    balanced_batches,
    open_dataset,
    prepare,
    rank_slice,
    shuffled_batches,
)
from reid.data.transforms import draw, move_maps

CONFIG = DataConfig(
    height=64, width=32, augmentation=AugmentationConfig(flip=0.5, pad=4, erase=0.5, colour=0.2)
)  # fmt: skip
PLAIN = DataConfig(height=64, width=32, augmentation=AugmentationConfig(flip=0))


@pytest.fixture(scope="module")
def reid(market_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare("embedded", market_once, tmp_path_factory.mktemp("reid") / "store")


@pytest.fixture(scope="module")
def pose(coco_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare("coco", coco_once, tmp_path_factory.mktemp("pose") / "store", height=64, width=32)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_workers_together_see_what_one_would(reid: Dataset, world: int) -> None:
    batches = ReIDBatches(reid, "train", CONFIG, device="cpu")
    indices = balanced_batches(batches.split.pids_N, 3, 2, seed=1, epoch=4)[1]
    whole = batches.training(indices, slice(0, 6), seed=1, epoch=4, step=1)
    parts = [
        batches.training(indices, rank_slice(6, rank, world, unit=2), seed=1, epoch=4, step=1) for rank in range(world)
    ]
    torch.testing.assert_close(torch.cat([part.images_BCHW for part in parts]), whole.images_BCHW, rtol=0, atol=1e-6)
    assert torch.cat([part.labels_B for part in parts]).tolist() == whole.labels_B.tolist()
    assert torch.cat([part.attributes_BA for part in parts]).tolist() == whole.attributes_BA.tolist()


def test_labels_and_attributes_belong_to_the_images(reid: Dataset) -> None:
    batches = ReIDBatches(reid, "train", PLAIN, device="cpu")
    indices = shuffled_batches(len(batches), 8, seed=0, epoch=0)[0]
    batch = batches.training(indices, slice(2, 8), seed=0, epoch=0, step=0)
    train = reid.splits["train"]
    assert batches.pids.tolist() == [2, 7, 11]
    assert batches.pids[batch.labels_B].tolist() == train.pids_N[indices[2:]].tolist()
    assert batch.attributes_BA.tolist() == train.attributes_NA[indices[2:]].tolist()
    assert batch.attribute_names == tuple(reid.attributes)
    assert (batch.labels_B.dtype, batch.attributes_BA.dtype) == (torch.int64, torch.int64)
    assert (batch.images_BCHW == batches.inference(indices[2:])).all()


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_have_the_model_s_size_and_memory_format(reid: Dataset, channels_last: bool) -> None:
    batches = ReIDBatches(reid, "gallery", CONFIG, device="cpu", channels_last=channels_last)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    trained = batches.training(np.arange(6), slice(0, 6), seed=0, epoch=0, step=0).images_BCHW
    for images in (trained, batches.inference(np.arange(6))):
        assert images.shape == (6, 3, 64, 32)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=memory_format)


def test_pose_batches_are_shared_among_workers(pose: Dataset) -> None:
    batches = PoseBatches(pose, "train", CONFIG, device="cpu")
    indices = np.array([5, 0, 2, 3])
    whole = batches.training(indices, slice(0, 4), seed=3, epoch=1, step=2)
    parts = [batches.training(indices, rows, seed=3, epoch=1, step=2) for rows in (slice(0, 1), slice(1, 4))]
    assert whole.keypoints_BMJ3.shape == (4, 2, 18, 3)
    assert whole.ignore_BHW.shape == (4, 8, 4)
    torch.testing.assert_close(torch.cat([part.keypoints_BMJ3 for part in parts]), whole.keypoints_BMJ3)
    assert (torch.cat([part.ignore_BHW for part in parts]) == whole.ignore_BHW).all()
    torch.testing.assert_close(torch.cat([part.images_BCHW for part in parts]), whole.images_BCHW, rtol=0, atol=1e-6)


def test_pose_validation_is_as_stored(pose: Dataset) -> None:
    batches = PoseBatches(pose, "val", CONFIG, device="cpu")
    batch = batches.validation([2, 1])
    assert (batch.keypoints_BMJ3 == pose.splits["val"].keypoints([2, 1])).all()
    assert (batch.ignore_BHW == pose.splits["val"].ignore([2, 1])).all()
    assert (batch.images_BCHW == batches.inference([2, 1])).all()


def test_re_id_images_with_joints_make_pose_batches(reid: Dataset) -> None:
    """At the size at which they are stored."""
    batches = PoseBatches(reid, "query", DataConfig(height=128, width=64), device="cpu")
    batch = batches.validation([1, 0])
    assert batch.keypoints_BMJ3.shape == (2, 1, 18, 3)
    assert (batch.keypoints_BMJ3[..., 2] > 0).all()
    assert not batch.ignore_BHW.any()
    assert [inputs.data_ptr() for inputs in batch.inputs] == [batch.images_BCHW.data_ptr()]


def test_joints_are_given_in_pixels_of_the_input(reid: Dataset) -> None:
    batches = ReIDBatches(reid, "gallery", DataConfig(height=64, width=48), device="cpu")
    assert batches.map_size == (8, 6)
    rows = np.arange(len(batches))
    stored, seen = reid.splits["gallery"].keypoints(rows), batches.keypoints(rows)
    assert seen.shape == stored.shape == (len(rows), 1, 18, 3)
    unlabelled = stored[..., 2] == 0
    assert unlabelled.all(dim=(1, 2)).sum() == 2, "distractors"
    assert not seen[unlabelled].any()
    for image, person, joint in (~unlabelled).nonzero().tolist():
        x, y, visible = stored[image, person, joint].tolist()
        expected = [(x + 0.5) * 48 / 64 - 0.5, (y + 0.5) * 64 / 128 - 0.5, visible]
        assert seen[image, person, joint].tolist() == pytest.approx(expected, abs=1e-4)


class OwnMaps:
    """Every image has maps of its own."""

    def gather(self, indices: ArrayLike) -> Tensor:
        own = [
            torch.rand(57, 8, 4, generator=torch.Generator().manual_seed(row)) for row in np.asarray(indices).tolist()
        ]
        return torch.stack(own)


@pytest.fixture
def with_maps(reid: Dataset) -> Dataset:
    dataset = open_dataset(reid.path)
    dataset.splits["train"].attach(OwnMaps())
    return dataset


@pytest.mark.parametrize("world", [1, 2, 3])
def test_workers_together_see_the_maps_that_one_would(with_maps: Dataset, world: int) -> None:
    batches = ReIDBatches(with_maps, "train", CONFIG, device="cpu")
    indices = balanced_batches(batches.split.pids_N, 3, 2, seed=1, epoch=4)[1]
    draws = draw(CONFIG.augmentation, 6, (64, 32), seed=1, epoch=4, step=1)
    assert 0 < draws.flip_B.sum() < 6
    expected = move_maps(OwnMaps().gather(indices), draws, CONFIG.augmentation, (64, 32))
    for rank in range(world):
        rows = rank_slice(6, rank, world, unit=2)
        batch = batches.training(indices, rows, seed=1, epoch=4, step=1)
        images, maps = batch.inputs
        assert images is batch.images_BCHW
        assert len(images) == len(maps)
        torch.testing.assert_close(maps, expected[rows])


def test_maps_come_with_images_where_some_are_attached(with_maps: Dataset) -> None:
    batches = ReIDBatches(with_maps, "train", PLAIN, device="cpu")
    indices = np.array([7, 0, 3])
    batch = batches.training(indices, slice(1, 3), seed=0, epoch=0, step=0)
    assert torch.equal(batch.inputs[1], OwnMaps().gather(indices[1:]))
    images, maps = batches.inputs(indices)
    assert torch.equal(images, batches.inference(indices))
    assert torch.equal(maps, OwnMaps().gather(indices))
    without = ReIDBatches(with_maps, "gallery", PLAIN, device="cpu")
    assert without.maps(indices[1:]) is None
    assert len(without.inputs(indices[1:])) == 1
    assert len(without.training(indices[1:], slice(0, 2), seed=0, epoch=0, step=0).inputs) == 1


def test_what_does_not_fit_is_refused(reid: Dataset, pose: Dataset, market_once: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="invalid split 'test', expected one of train, query, gallery"):
        ReIDBatches(reid, "test", CONFIG, device="cpu")
    with pytest.raises(DataError, match=r"data\.height"):
        PoseBatches(pose, "train", DataConfig(height=128, width=64), device="cpu")
    manifest = yaml.safe_load((manifest_folder() / "embedded.yaml").read_text()) | {"keypoints": None}
    (tmp_path / "without_joints.yaml").write_text(yaml.safe_dump(manifest))
    jointless = prepare(str(tmp_path / "without_joints.yaml"), market_once, tmp_path / "store")
    with pytest.raises(DataError, match=r"without_joints has no keypoints: set data\.pose_source"):
        PoseBatches(jointless, "train", CONFIG, device="cpu")
    with pytest.raises(DataError, match="without_joints has no joints of its people: name a file of them"):
        ReIDBatches(jointless, "train", CONFIG, device="cpu").keypoints([0])
