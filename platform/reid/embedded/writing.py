"""How the images of the benchmark are encoded, and how many of them a task renders."""

import io

from PIL import Image

JPEG_QUALITY = 92
IMAGES_PER_TASK = 32


def encode_png(image: Image.Image) -> bytes:
    """PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(image: Image.Image) -> bytes:
    """JPEG bytes of an RGB image."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
