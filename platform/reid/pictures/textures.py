"""Pictures of textures beside the images that they were made of.

Legend: B images, H × W stored pixels, C = 3 channels, S texels a side.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reid.pictures.sheet import FAINT, Sheet

HEIGHT = 128
"""Pixels that images and textures are scaled to."""


def textures_picture(images_BHW3: NDArray[np.uint8], textures: Mapping[str, Tensor], *, aspect: float) -> bytes:
    """A row for each image: the image, then its textures.

    Args:
        textures: textures_BCSS in [-1, 1] by heading.
        aspect: width of the images over their height.
    """
    sheet = Sheet(
        title="Images, and the whole textures of the people in them",
        columns=["image", *textures],
        rows=[""] * len(images_BHW3),
        cell=(HEIGHT, HEIGHT),
        legend=[(None, "a texture is a person's surface unrolled, front, sides and back, seen in the image or not")],
    )
    width = round(HEIGHT * aspect)
    for row, image_HW3 in enumerate(images_BHW3):
        upright = Image.new("RGB", (HEIGHT, HEIGHT), "white")
        upright.paste(
            Image.fromarray(image_HW3).resize((width, HEIGHT), Image.Resampling.BICUBIC), ((HEIGHT - width) // 2, 0)
        )
        sheet.place(row, 0, np.asarray(upright), frame=FAINT)
        for column, textures_BCSS in enumerate(textures.values(), start=1):
            sheet.place(row, column, _pixels(textures_BCSS[row]), frame=FAINT)
    return sheet.png()


def _pixels(texture_CSS: Tensor) -> NDArray[np.uint8]:
    levels_SSC = ((texture_CSS.float().clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0)
    pixels_SSC: NDArray[np.uint8] = levels_SSC.cpu().numpy().astype(np.uint8)
    return pixels_SSC
