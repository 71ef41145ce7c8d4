"""Encoded images to pixels; the one place that touches images one at a time."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as run_lengths

from reid.config import require_file

IGNORE_STRIDE = 8
"""Input pixels per pixel of an ignore mask."""
JPEG_QUALITY = 95
FORMATS = ("JPEG", "PNG")
MAX_PIXELS = 178_956_970
"""Of an image or of what is cut from it: as many as Pillow decodes at most."""
MAX_OUTLINE = 1_000_000
"""Pixels around a polygon."""
Box = tuple[int, int, int, int]
ImageLike = Image.Image | NDArray[np.uint8] | str | os.PathLike[str]
"""An image of any size: decoded, uint8 H × W × 3 in RGB, or the path of a JPEG or PNG file."""


class UnreadableImageError(Exception):
    """An image that is missing, cut short or no image at all."""


def load_image(file: Path | io.BytesIO) -> Image.Image:
    """Decode a whole image as RGB.

    Args:
        file: a JPEG or a PNG, or a BMP that is named one; or what a store holds.

    Raises:
        UnreadableImageError: with the reason.
    """
    formats = FORMATS if isinstance(file, Path) and file.suffix.lower() != ".bmp" else (*FORMATS, "BMP")
    try:
        if isinstance(file, Path):
            require_file(file)
        with Image.open(file, formats=formats) as image:
            return _as_rgb(image)
    except UnidentifiedImageError:
        raise UnreadableImageError(f"{file} is no image ({' or '.join(formats)})") from None
    except Exception as error:  # Pillow raises whatever a damaged file leads its decoders to
        raise UnreadableImageError(f"{file} cannot be decoded: {error}") from error


def pixels_of(image: ImageLike, image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image as models see it: uint8 H × W × 3 at (height, width), whatever its own size and mode.

    Grey becomes RGB, transparency is dropped, and an orientation that EXIF states is not applied: datasets state none.

    Raises:
        UnreadableImageError: with the reason.
        TypeError: it is no image.
    """
    if isinstance(image, str | os.PathLike):
        return np.asarray(resized(load_image(Path(image)), image_size))
    if isinstance(image, Image.Image):
        try:
            return np.asarray(resized(_as_rgb(image), image_size))
        except Exception as error:  # one that was opened is decoded only now, see `load_image`
            raise UnreadableImageError(f"it cannot be decoded: {error}") from error
    if not isinstance(image, np.ndarray):
        raise TypeError(f"a {type(image).__name__} is no image: give a PIL image, a uint8 array or a path")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UnreadableImageError(f"an array {image.dtype} {image.shape} is no image: give uint8 (height, width, 3)")
    return np.asarray(resized(Image.fromarray(image), image_size))


def resized(image: Image.Image, image_size: tuple[int, int], box: Box | None = None) -> Image.Image:
    """The image, or what a box cuts from it with black beyond the borders, at (height, width).

    Raises:
        UnreadableImageError: the box is larger than any image.
    """
    height, width = image_size
    if box is not None:
        _require_pixels((box[2] - box[0]) * (box[3] - box[1]))
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
        outlines: COCO segmentations, polygons or uncompressed run lengths, in pixels of the source image.
        source_size: (height, width) of the source image.
        box: what the crop shows of it; none = all.
        image_size: (height, width) of the stored image.

    Raises:
        UnreadableImageError: an outline is of another image, or longer than any.
    """
    rows, columns = image_size[0] // IGNORE_STRIDE, image_size[1] // IGNORE_STRIDE
    if not outlines:
        return np.zeros((rows, columns), np.uint8)
    encoded = []
    for outline in outlines:
        _require_drawable(outline, source_size)
        parts = run_lengths.frPyObjects(outline, *source_size)
        encoded.extend(parts if isinstance(parts, list) else [parts])
    union = run_lengths.decode(run_lengths.merge(encoded)) * np.uint8(255)
    whole = Image.fromarray(union)
    cropped = (whole if box is None else whole.crop(box)).resize((columns, rows), Image.Resampling.BOX)
    return (np.asarray(cropped) > 0).astype(np.uint8)


def _as_rgb(image: Image.Image) -> Image.Image:
    _require_pixels(image.width * image.height)
    return image.convert("RGB")


def _require_pixels(count: int) -> None:
    if count > MAX_PIXELS:
        raise UnreadableImageError(f"{count:,} pixels are more than {MAX_PIXELS:,}")


def _require_drawable(outline: Any, source_size: tuple[int, int]) -> None:
    """Raise where the C code of pycocotools would write beyond its memory, or ask for all that there is."""
    if isinstance(outline, dict):
        covered, (height, width) = sum(outline["counts"]), source_size
        if tuple(outline["size"]) != source_size or covered != height * width:
            raise UnreadableImageError(
                f"run lengths of {covered:,} pixels and size {outline['size']} belong to no image of {[height, width]}"
            )
        return
    for polygon in outline:
        corners_C2 = np.reshape(polygon, (-1, 2))
        if np.abs(np.diff(corners_C2, axis=0, append=corners_C2[:1])).sum() > MAX_OUTLINE:
            raise UnreadableImageError(f"a polygon is longer than {MAX_OUTLINE:,} pixels")
