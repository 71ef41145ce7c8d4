"""Writes files and folders that are either complete or recognisably unfinished."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

JPEG_QUALITY = 92
IMAGES_PER_TASK = 32


def write_file(path: Path, content: bytes) -> None:
    """Writes under a temporary name, then renames: the file at `path` is never a part of one."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(content)
    temporary.replace(path)


def encode_jpeg(image: Image.Image) -> bytes:
    """JPEG bytes of an RGB image."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


@contextmanager
def finished_folder(destination: Path) -> Iterator[Path]:
    """A folder beside `destination` that takes its name when the block ends well; what a crash left there is removed.

    Raises:
        FileExistsError: `destination` exists already.
    """
    if destination.exists():
        raise FileExistsError(f"{destination} exists already: remove it to render anew, or choose another destination")
    partial = destination.with_name(f".{destination.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    yield partial
    partial.rename(destination)
