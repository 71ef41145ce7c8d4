"""A trained model as its users see it: images in, unit vectors out.

Legend: N images, B images of a batch, H × W pixels of the model's input, D length of a descriptor.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reid.config import DataError
from reid.data import ImageLike, UnreadableImageError, pixels_of

Forward = Callable[[Tensor], Tensor]
"""uint8 images B × H × W × 3, B ≥ 1, → their descriptors (B, D) in fp32, on the CPU."""
BATCH_SIZE = 128
LONGEST_SIDE = 1024
"""Pixels of a model's input, as of `data.height`."""


class Model:
    """Describes images of people: the more two of them look alike, the nearer are their descriptors.

    `reid.load` makes one. It may be used from one thread at a time.

    Attributes:
        place: where it was loaded from.
        image_size: (height, width) of its input in pixels; images are resized to it.
        dim: D, the length of a descriptor.
    """

    def __init__(
        self, place: str, forward: Forward, image_size: tuple[int, int], *, batch_size: int = BATCH_SIZE
    ) -> None:
        """
        Args:
            place: for messages.
            batch_size: images that are described at once unless a call says otherwise.

        Raises:
            ValueError: the image size is none.
        """
        if not all(type(side) is int and 1 <= side <= LONGEST_SIDE for side in image_size):
            raise ValueError(f"{place} states {image_size} as its image size: export the model again")
        self.place, self.image_size = place, image_size
        self._forward, self._batch_size = forward, batch_size
        self.dim: int = forward(torch.zeros(1, *image_size, 3, dtype=torch.uint8)).shape[1]

    def describe(
        self, images: Sequence[ImageLike] | NDArray[np.uint8], *, batch_size: int | None = None
    ) -> NDArray[np.float32]:
        """Describe any number of images.

        What images are and how they are resized is as in `jobs/extract.py`: of the same files, a checkpoint gives the
        same descriptors here and there.

        Args:
            images: PIL images, uint8 arrays H' × W' × 3 in RGB, or paths of JPEG and PNG files, of any sizes, mixed.
            batch_size: images that are described at once; none = what the model was trained with. Another one may
                change the last digits.

        Returns:
            Unit vectors, float32 (N, D), in the order of the images; (0, D) of none.

        Raises:
            DataError: an image cannot be read.
            TypeError: something is no image, or `images` is a single one.
            ValueError: the batch size is below 1.
        """
        if isinstance(images, str | os.PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise TypeError("describe takes several images: put a single one into a list")
        size = self._batch_size if batch_size is None else batch_size
        if size < 1:
            raise ValueError(f"batch_size is {size}: give at least 1")
        descriptors_ND = np.empty((len(images), self.dim), np.float32)
        for start in range(0, len(images), size):
            batch = range(start, min(start + size, len(images)))
            pixels_BHW3 = np.stack([self._pixels(index, images[index]) for index in batch])
            descriptors_ND[start : batch.stop] = self._forward(torch.from_numpy(pixels_BHW3))
        return descriptors_ND

    def describe_pixels(self, images_NHWC: Tensor) -> Tensor:
        """Descriptors (N, D) in fp32 of uint8 images N × H × W × 3 that have the model's size already."""
        batches = torch.split(images_NHWC, self._batch_size) if len(images_NHWC) else ()
        return torch.cat([torch.empty(0, self.dim), *map(self._forward, batches)])

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"<reid.Model of {self.place}: images of {height} × {width} pixels to {self.dim} numbers>"

    def _pixels(self, index: int, image: ImageLike) -> NDArray[np.uint8]:
        try:
            return pixels_of(image, self.image_size)
        except UnreadableImageError as error:
            raise DataError(f"image {index}: {error}") from error
