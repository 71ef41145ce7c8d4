"""A folder of images, and the names of those in it."""

import os
from pathlib import Path, PurePosixPath

from reid.config import DataError


def list_images(root: Path) -> list[str]:
    """Names of all images (jpg, jpeg, png) under a folder, relative to it, sorted; hidden ones are left out.

    Raises:
        DataError: there is no such folder, it holds no image, or a name is no UTF-8.
    """
    if not os.path.isdir(root):
        raise DataError(f"there is no folder {root}: set --images to a folder of images or a prepared store")
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        names += [
            (relative / file).as_posix()
            for file in files
            if not file.startswith(".") and file.lower().endswith((".jpg", ".jpeg", ".png"))
        ]
    if not names:
        raise DataError(f"{root} holds no image (*.jpg, *.jpeg, *.png): set --images to another folder")
    for name in names:
        if not name.isprintable():
            raise DataError(f"{root} holds an image with a name that cannot be shown, {name!r}: rename it")
    return sorted(names)


def image_place(root: Path, name: str) -> Path:
    """Where an image of a table lies.

    Raises:
        DataError: the name leads out of the folder.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"the name {name!r} leads out of the folder of images {root}: write the table anew")
    return root / parts
