"""Maps made of joints that are known, held against plain loops over the images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from reid.config import POSE_CHANNELS, RunConfig
from reid.data import PoseBatches, ReIDBatches, open_dataset
from reid.losses import pose_targets
from reid.stages import spread
from reid.stages.joints import joint_maps, mean_joint_maps

Batches = PoseBatches | ReIDBatches


@pytest.fixture(params=["reid", "pose"])
def batches(request: pytest.FixtureRequest, config: RunConfig, stores: dict[str, Path]) -> Batches:
    """Of person images, stored at four times the size of the model's input, or of scenes."""
    make = PoseBatches if request.param == "pose" else ReIDBatches
    return make(open_dataset(stores[request.param]), "train", config.data, device="cpu")


def map_of(batches: Batches, index: int) -> torch.Tensor:
    """What the pose loss would have a net see in one image."""
    keypoints_1MJ3 = batches.split.keypoints([index])
    if isinstance(batches, ReIDBatches):
        keypoints_1MJ3[..., :2] = (keypoints_1MJ3[..., :2] + 0.5) / 4 - 0.5
    maps = pose_targets(keypoints_1MJ3, 4, 2)
    return torch.cat((maps.confidence_BJhw, maps.affinity_BLhw), dim=1)[0]


def test_an_images_maps_are_what_a_net_should_see_in_it(batches: Batches) -> None:
    found_BJhw = joint_maps(batches, np.array([7, 0, 30]))
    assert found_BJhw.shape[1] == POSE_CHANNELS
    assert found_BJhw[:, : POSE_CHANNELS // 3].amax() > 0.5
    for index, map_Jhw in zip((7, 0, 30), found_BJhw, strict=True):
        torch.testing.assert_close(map_Jhw, map_of(batches, index), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [4096, 10])
def test_the_mean_map_is_the_mean_over_images_that_are_spread_over_the_split(
    batches: Batches, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "MEAN_OVER", most)
    monkeypatch.setattr(spread, "_AT_ONCE", 7)
    count = min(most, len(batches))
    chosen = [round(number * (len(batches) - 1) / (count - 1)) for number in range(count)]
    assert len(set(chosen)) == count
    total = sum((map_of(batches, index).double() for index in chosen), torch.zeros(()))
    torch.testing.assert_close(mean_joint_maps(batches).double(), total / count, rtol=1e-4, atol=1e-5)
