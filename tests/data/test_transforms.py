from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as peer

from reid.config import AugmentationConfig
from reid.config.body import JOINTS
from reid.data.transforms import IMAGENET_MEAN, IMAGENET_STD, augment, augment_pose, draw, normalise

SIZE = (64, 32)
NONE = AugmentationConfig(flip=0)
EVERYTHING = AugmentationConfig(flip=0.5, pad=5, erase=0.6, colour=0.3)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (12, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def unit(normalised: torch.Tensor) -> torch.Tensor:
    """Back to 0..1, B × H × W × 3."""
    std, mean = torch.tensor(IMAGENET_STD)[:, None, None], torch.tensor(IMAGENET_MEAN)[:, None, None]
    return (normalised * std + mean).permute(0, 2, 3, 1)


@pytest.mark.parametrize("size", [SIZE, (128, 64), (32, 16), (96, 64)])
def test_without_augmentation_it_is_the_peers_pipeline(images: torch.Tensor, size: tuple[int, int]) -> None:
    pipeline = peer.Compose([peer.Resize(size), peer.ToTensor(), peer.Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD)])
    expected = torch.stack([pipeline(Image.fromarray(image.numpy())) for image in images])
    one_grey_level = 1.01 / 255 / min(IMAGENET_STD)
    torch.testing.assert_close(normalise(images, size), expected, rtol=0, atol=one_grey_level if size != SIZE else 1e-5)
    draws = draw(NONE, len(images), size, seed=0, epoch=0, step=0)
    torch.testing.assert_close(augment(images, draws, NONE, size), normalise(images, size), rtol=0, atol=0)


def test_the_given_images_stay_as_they_are(images: torch.Tensor) -> None:
    before = images.clone()
    draws = draw(EVERYTHING, len(images), SIZE, seed=0, epoch=0, step=0)
    augment(images, draws, EVERYTHING, SIZE)
    assert (images == before).all()


@pytest.mark.parametrize("bounds", [(0, 6, 12), (0, 1, 12), (0, 4, 8, 12)])
def test_any_division_of_the_batch_gives_the_same_images(images: torch.Tensor, bounds: tuple[int, ...]) -> None:
    draws = draw(EVERYTHING, len(images), SIZE, seed=5, epoch=2, step=7)
    whole = augment(images, draws, EVERYTHING, SIZE)
    rows = [slice(*pair) for pair in pairwise(bounds)]
    parts = [augment(images[part], draws[part], EVERYTHING, SIZE) for part in rows]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


def test_draws_depend_on_seed_epoch_and_step_alone() -> None:
    def flips(**position: int) -> list[bool]:
        draws = draw(EVERYTHING, 64, SIZE, **position)
        return list(draws.flip_B.tolist()) + list(draws.gain_BC.flatten().tolist())

    first = flips(seed=1, epoch=2, step=3)
    torch.manual_seed(99)
    np.random.seed(99)
    assert first == flips(seed=1, epoch=2, step=3)
    others = [flips(seed=2, epoch=2, step=3), flips(seed=1, epoch=3, step=3), flips(seed=1, epoch=2, step=4)]
    assert first not in others


def test_one_change_leaves_the_draws_of_the_others(images: torch.Tensor) -> None:
    flipped = draw(AugmentationConfig(flip=0.5), 64, SIZE, seed=0, epoch=0, step=0)
    more = draw(EVERYTHING, 64, SIZE, seed=0, epoch=0, step=0)
    assert (flipped.flip_B == more.flip_B).all()


def test_geometry_against_a_loop(images: torch.Tensor) -> None:
    config = AugmentationConfig(flip=0.5, pad=4)
    draws = draw(config, len(images), SIZE, seed=1, epoch=0, step=0)
    ours = unit(augment(images, draws, config, SIZE)) * 255
    assert draws.flip_B.any()
    assert len(draws.shift_B2.unique(dim=0)) > 5
    for image, flip, (y, x), result in zip(images, draws.flip_B, draws.shift_B2.tolist(), ours, strict=True):
        expected = np.asarray(image)[:, ::-1] if flip else np.asarray(image)
        expected = np.pad(expected, ((4, 4), (4, 4), (0, 0)))[4 + y : 4 + y + SIZE[0], 4 + x : 4 + x + SIZE[1]]
        np.testing.assert_allclose(result, expected, atol=1e-2)


def test_colour_against_a_loop(images: torch.Tensor) -> None:
    config = AugmentationConfig(flip=0, colour=0.3)
    draws = draw(config, len(images), SIZE, seed=1, epoch=0, step=0)
    ours = unit(augment(images, draws, config, SIZE))
    for image, gain, contrast, result in zip(images, draws.gain_BC, draws.contrast_B, ours, strict=True):
        pixels = image.numpy() / 255
        grey = (pixels @ [0.299, 0.587, 0.114]).mean()
        expected = np.clip((grey + (pixels - grey) * float(contrast)) * gain.numpy(), 0, 1)
        np.testing.assert_allclose(result, expected, atol=2e-4)  # torchvision's grey weights have four digits


def test_erasing_against_a_loop(images: torch.Tensor) -> None:
    config = AugmentationConfig(flip=0, erase=0.5)
    draws = draw(config, len(images), SIZE, seed=1, epoch=0, step=0)
    ours, plain = augment(images, draws, config, SIZE), normalise(images, SIZE)
    for (top, left, bottom, right), result, expected in zip(draws.erase_B4.tolist(), ours, plain, strict=True):
        expected[:, top:bottom, left:right] = 0
        assert (result == expected).all()


def test_draws_have_the_given_rates_and_ranges() -> None:
    config = AugmentationConfig(flip=0.3, pad=2, erase=0.4, colour=0.2)
    draws = draw(config, 20_000, SIZE, seed=0, epoch=0, step=0)
    assert draws.flip_B.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.unique(draws.shift_B2).tolist() == [-2, -1, 0, 1, 2]
    top, left, bottom, right = draws.erase_B4.unbind(1)
    erased = (bottom > top) & (right > left)
    assert erased.float().mean().item() == pytest.approx(0.4, abs=0.02)
    assert ((top >= 0) & (left >= 0) & (bottom <= SIZE[0]) & (right <= SIZE[1])).all()
    share = ((bottom - top) * (right - left))[erased] / (SIZE[0] * SIZE[1])
    assert 0.01 < share.min() < 0.03
    assert 0.3 < share.max() < 0.42
    for factor in (draws.gain_BC, draws.contrast_B):
        assert 0.8 <= factor.min() < 0.81
        assert 1.19 < factor.max() <= 1.2


def test_memory_format_is_channels_last(images: torch.Tensor) -> None:
    draws = draw(EVERYTHING, len(images), SIZE, seed=0, epoch=0, step=0)
    for result in (normalise(images, (128, 64)), augment(images, draws, EVERYTHING, SIZE)):
        assert result.is_contiguous(memory_format=torch.channels_last)


class TestPose:
    def dots(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images that are black but for one white pixel, where joint `left_wrist` of the first person is."""
        rng = np.random.default_rng(0)
        images = torch.zeros(count, *SIZE, 3, dtype=torch.uint8)
        keypoints = torch.zeros(count, 2, 18, 3)
        for row in range(count):
            y, x = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
            images[row, y, x] = 255
            keypoints[row, 0, JOINTS.index("left_wrist")] = torch.tensor([x, y, 2.0])
        return images, keypoints

    def test_joints_move_with_the_pixels(self) -> None:
        config = AugmentationConfig(flip=0.5, pad=6)
        images, keypoints = self.dots(64)
        draws = draw(config, 64, SIZE, seed=0, epoch=0, step=0)
        moved, _ = augment_pose(keypoints, torch.zeros(64, 8, 4, dtype=torch.bool), draws, config, SIZE)
        bright = unit(augment(images, draws, config, SIZE))[..., 0] > 0.5
        lost = 0
        for row in range(64):
            joint = "right_wrist" if draws.flip_B[row] else "left_wrist"
            x, y, visible = moved[row, 0, JOINTS.index(joint)].tolist()
            assert (moved[row, :, :, 2] > 0).sum() == (1 if visible else 0)
            assert bool(visible) == bool(bright[row].any())
            assert not visible or bright[row, int(y), int(x)]
            lost += not visible
        assert 0 < lost < 32

    def test_ignored_pixels_stay_ignored(self) -> None:
        config = AugmentationConfig(flip=0.5, pad=6)
        ignore = torch.rand(32, 8, 4, generator=torch.Generator().manual_seed(0)) < 0.2
        draws = draw(config, 32, SIZE, seed=0, epoch=0, step=0)
        _, moved = augment_pose(torch.zeros(32, 1, 18, 3), ignore, draws, config, SIZE)
        full = ignore.repeat_interleave(8, 1).repeat_interleave(8, 2)
        pixels = (full * 255).to(torch.uint8)[..., None].expand(-1, -1, -1, 3)
        shown = unit(augment(pixels, draws, config, SIZE))[..., 0] > 0.5
        expected = shown.reshape(32, 8, 8, 4, 8).any(dim=4).any(dim=2)
        assert (moved == expected).all()
        assert moved.dtype == torch.bool

    def test_without_augmentation_nothing_moves(self) -> None:
        _, keypoints = self.dots(8)
        ignore = torch.rand(8, 8, 4) < 0.5
        draws = draw(NONE, 8, SIZE, seed=0, epoch=0, step=0)
        same_keypoints, same_ignore = augment_pose(keypoints, ignore, draws, NONE, SIZE)
        assert (same_keypoints == keypoints).all()
        assert (same_ignore == ignore).all()

    def test_flipping_twice_is_no_change(self) -> None:
        config = AugmentationConfig(flip=1)
        keypoints = torch.rand(4, 3, 18, 3) * 30 + 1
        ignore = torch.rand(4, 8, 4) < 0.5
        draws = draw(config, 4, SIZE, seed=0, epoch=0, step=0)
        once = augment_pose(keypoints, ignore, draws, config, SIZE)
        twice = augment_pose(*once, draws, config, SIZE)
        torch.testing.assert_close(twice[0], keypoints)
        assert (twice[1] == ignore).all()
        nose, left_eye, right_eye = (JOINTS.index(name) for name in ("nose", "left_eye", "right_eye"))
        torch.testing.assert_close(once[0][:, :, nose, 0], SIZE[1] - 1 - keypoints[:, :, nose, 0])
        torch.testing.assert_close(once[0][:, :, left_eye, 1], keypoints[:, :, right_eye, 1])
