"""The floor under every re-identification score: what the mean colour of an image alone retrieves."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def mean_colour_descriptor(images_NHWC: Tensor | NDArray[np.uint8]) -> Tensor:
    """Mean colour of each image, float32 (N, 3) in 0..1, from uint8 images (N, H, W, 3), on their device.

    Sums are taken in integers, so they are exact. Raises ValueError for another dtype or shape.
    """
    images = torch.as_tensor(images_NHWC)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; give uint8 (N, height, width, 3)")
    num_pixels = images.shape[1] * images.shape[2]
    sums_N3 = images.sum(dim=1, dtype=torch.int32).sum(dim=1)
    return (sums_N3.double() / (255 * num_pixels)).float()
