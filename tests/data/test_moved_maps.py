"""Pose maps move as the images do: as if they had been drawn from the moved joints."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reid.config import CONFIDENCE_CHANNELS, AugmentationConfig
from reid.data.transforms import Draws, augment, augment_pose, draw, move_maps, normalise
from reid.losses import pose_targets

HEIGHT, WIDTH = SIZE = (128, 64)
CELL = 8
BATCH = 24
SHIFTS = AugmentationConfig(flip=0, pad=16)
FLIPS = AugmentationConfig(flip=0.5)
BOTH = AugmentationConfig(flip=0.5, pad=16)


def _joints(border: int = 0) -> Tensor:
    """Three people, some of their joints unlabelled, none within `border` pixels of the edge."""
    rng = np.random.default_rng(0)
    places = rng.uniform((border, border), (WIDTH - 1 - border, HEIGHT - 1 - border), (BATCH, 3, 18, 2))
    labelled = rng.random((BATCH, 3, 18, 1)) < 0.8
    return torch.from_numpy(np.concatenate((places, 2 * labelled), axis=-1) * labelled)


def _targets(joints: Tensor) -> Tensor:
    return pose_targets(joints, HEIGHT // CELL, WIDTH // CELL).channels()


def _draws(config: AugmentationConfig, *, unit: int = 1) -> Draws:
    draws = draw(config, BATCH, SIZE, seed=0, epoch=0, step=0)
    return replace(draws, shift_B2=draws.shift_B2 // unit * unit)


def _moved(joints: Tensor, draws: Draws, config: AugmentationConfig) -> Tensor:
    return augment_pose(joints, torch.zeros(BATCH, 16, 8, dtype=torch.bool), draws, config, SIZE)[0]


def test_mirrored_maps_are_the_maps_of_mirrored_joints() -> None:
    joints, draws = _joints(), _draws(FLIPS)
    assert 0 < draws.flip_B.sum() < BATCH
    moved = move_maps(_targets(joints), draws, FLIPS, SIZE)
    torch.testing.assert_close(moved, _targets(_moved(joints, draws, FLIPS)))
    assert torch.equal(moved[~draws.flip_B], _targets(joints)[~draws.flip_B])


@pytest.mark.parametrize("config", [SHIFTS, BOTH], ids=["shifted", "mirrored and shifted"])
def test_maps_shifted_by_cells_are_the_maps_of_shifted_joints(config: AugmentationConfig) -> None:
    """But for cells that come in at the border."""
    joints, draws = _joints(border=config.pad), _draws(config, unit=CELL)
    assert {tuple(shift) for shift in (draws.shift_B2 // CELL).tolist()} >= {(-2, 1), (1, -1), (0, 1)}
    moved = move_maps(_targets(joints), draws, config, SIZE)
    expected = _targets(_moved(joints, draws, config))
    for ours, theirs, (down, right) in zip(moved, expected, (draws.shift_B2 // CELL).tolist(), strict=True):
        rows = slice(max(-down, 0), HEIGHT // CELL - max(down, 0))
        columns = slice(max(-right, 0), WIDTH // CELL - max(right, 0))
        torch.testing.assert_close(ours[:, rows, columns], theirs[:, rows, columns])


def _between(map_hw: list[list[float]], y: float, x: float) -> float:
    """Bilinear, and beyond the border as at it."""
    height, width = len(map_hw), len(map_hw[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(math.floor(y), height - 2), min(math.floor(x), width - 2)
    below, beside = y - top, x - left
    above = (1 - beside) * map_hw[top][left] + beside * map_hw[top][left + 1]
    return (1 - below) * above + below * ((1 - beside) * map_hw[top + 1][left] + beside * map_hw[top + 1][left + 1])


def test_any_shift_lies_between_the_neighbours() -> None:
    draws, maps = _draws(SHIFTS), torch.rand(BATCH, 2, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    assert (draws.shift_B2 % CELL != 0).any(dim=1).sum() > BATCH // 2
    moved = move_maps(maps, draws, SHIFTS, (5 * CELL, 4 * CELL))
    for image, (down, right), result in zip(maps.tolist(), draws.shift_B2.tolist(), moved.tolist(), strict=True):
        for channel, shifted in zip(image, result, strict=True):
            for row, column in np.ndindex(5, 4):
                expected = _between(channel, row + down / CELL, column + right / CELL)
                assert shifted[row][column] == pytest.approx(expected, abs=1e-6)


def test_maps_move_with_the_pixels() -> None:
    """A map made of an image's own brightness, before or after the image is augmented."""
    images = torch.zeros(BATCH, *SIZE, 3, dtype=torch.uint8)
    images[:, 40:64, 16:32] = 200

    def brightness(normalised_BCHW: Tensor) -> Tensor:
        grey_B1hw = torch.nn.functional.avg_pool2d(normalised_BCHW[:, :1], CELL)
        return grey_B1hw.expand(-1, 57, -1, -1)

    draws = _draws(BOTH, unit=CELL)
    moved = move_maps(brightness(normalise(images, SIZE)), draws, BOTH, SIZE)[:, :CONFIDENCE_CHANNELS]
    torch.testing.assert_close(moved, brightness(augment(images, draws, BOTH, SIZE))[:, :CONFIDENCE_CHANNELS])


def test_colour_and_erasing_leave_maps_as_they_are() -> None:
    config = AugmentationConfig(flip=0, erase=1, colour=0.5)
    maps = _targets(_joints())
    assert torch.equal(move_maps(maps, _draws(config), config, SIZE), maps)


def test_any_division_of_the_batch_gives_the_same_maps() -> None:
    maps, draws = _targets(_joints()).float(), _draws(BOTH)
    whole = move_maps(maps, draws, BOTH, SIZE)
    assert whole.dtype == torch.float32
    parts = [move_maps(maps[rows], draws[rows], BOTH, SIZE) for rows in (slice(0, 1), slice(1, 9), slice(9, BATCH))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)
