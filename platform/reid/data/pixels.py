"""Encoded images to pixels; the one place that touches images one at a time."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as run_lengths

IGNORE_STRIDE = 8
"""Input pixels per pixel of an ignore mask."""
JPEG_QUALITY = 95
Box = tuple[int, int, int, int]


class UnreadableImageError(Exception):
    """An image that is missing, cut short or no image at all."""


def load_image(file: Path | io.BytesIO) -> Image.Image:
    """Decode a whole image as RGB.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise UnreadableImageError(f"{file} is no image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(f"{file} cannot be decoded: {error}") from error


def resized(image: Image.Image, image_size: tuple[int, int], box: Box | None = None) -> Image.Image:
    """The image, or what a box cuts from it with black beyond the borders, at (height, width)."""
    height, width = image_size
    if box is not None:
        image = image.crop(box)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def jpeg(image: Image.Image) -> bytes:
    """Encode as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def ignore_mask(
    outlines: tuple[Any, ...], source_size: tuple[int, int], box: Box | None, image_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Where the outlined people are, at 1/8 of the stored size; 1 = ignored.

    Args:
        outlines: COCO segmentations, polygons or run lengths, in pixels of the source image.
        source_size: (height, width) of the source image.
        box: what the crop shows of it; none = all.
        image_size: (height, width) of the stored image.
    """
    rows, columns = image_size[0] // IGNORE_STRIDE, image_size[1] // IGNORE_STRIDE
    if not outlines:
        return np.zeros((rows, columns), np.uint8)
    encoded = []
    for outline in outlines:
        parts = run_lengths.frPyObjects(outline, *source_size) if _needs_encoding(outline) else outline
        encoded.extend(parts if isinstance(parts, list) else [parts])
    union = run_lengths.decode(run_lengths.merge(encoded)) * np.uint8(255)
    whole = Image.fromarray(union)
    cropped = (whole if box is None else whole.crop(box)).resize((columns, rows), Image.Resampling.BOX)
    return (np.asarray(cropped) > 0).astype(np.uint8)


def _needs_encoding(outline: Any) -> bool:
    return isinstance(outline, list) or isinstance(outline["counts"], list)
