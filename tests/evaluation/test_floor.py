"""The mean colour of an image as its descriptor."""

from typing import Any

import numpy as np
import pytest
import torch

from reid.evaluation import evaluate_retrieval, mean_colour_descriptor


def test_equals_the_mean_of_every_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 12, 5, 3), dtype=np.uint8)
    expected = [[image[:, :, channel].astype(float).mean() / 255 for channel in range(3)] for image in images]
    descriptor = mean_colour_descriptor(images)
    assert descriptor.dtype == torch.float32
    np.testing.assert_allclose(descriptor, expected, rtol=1e-6)


def test_large_bright_images_do_not_overflow() -> None:
    assert torch.equal(mean_colour_descriptor(torch.full((1, 1100, 900, 3), 255, dtype=torch.uint8)), torch.ones(1, 3))


def test_finds_identities_that_differ_in_colour() -> None:
    pids = torch.arange(20).repeat(2)
    colours = torch.randint(40, 216, (20, 3), generator=torch.Generator().manual_seed(0))[pids]
    noise = torch.randint(-9, 10, (40, 16, 8, 3), generator=torch.Generator().manual_seed(1))
    descriptor = mean_colour_descriptor((colours[:, None, None] + noise).to(torch.uint8))
    camids = torch.arange(40) // 20
    result = evaluate_retrieval(descriptor[:20], descriptor[20:], pids[:20], pids[20:], camids[:20], camids[20:])
    assert result.mAP == 1


def test_no_images_give_no_descriptors() -> None:
    assert mean_colour_descriptor(torch.empty(0, 4, 4, 3, dtype=torch.uint8)).shape == (0, 3)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)]
)
def test_other_layouts_are_refused(images: Any) -> None:
    with pytest.raises(ValueError, match="give uint8"):
        mean_colour_descriptor(images)
