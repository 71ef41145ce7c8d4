"""A user's own images in a folder for each identity, with or without a folder for each split above them."""

import os
from collections.abc import Iterator
from pathlib import Path

from reid.config import DataError, Manifest
from reid.data.readers.checks import names_in, some_of
from reid.data.readers.listing import SPLIT_WORDS, Listing

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def read_folders_of_identities(source: Path, manifest: Manifest) -> Listing:
    """The images below `<identity>/`, or below `<split>/<identity>/` where there is a folder `train`.

    Raises:
        DataError: there are none, or some lie in no identity's folder.
    """
    textures = None if manifest.textures is None else manifest.textures.folder
    folders = [name for name in _folders(source) if name != textures]
    divided = any(SPLIT_WORDS.get(name.casefold()) == "train" for name in folders)
    tops = folders if divided else [""]
    strange = [name for name in tops if divided and name.casefold() not in SPLIT_WORDS]
    if strange:
        raise DataError(
            f"{source}: the folders {some_of(strange)} beside train/ are no splits, expected query, gallery, test or "
            "val: rename or remove them"
        )
    found = [
        (f"{top}/{identity}/{image}" if divided else f"{identity}/{image}", identity, top)
        for top in tops
        for identity in (_folders(source / top) if divided else folders)
        for image in _images(source / top / identity)
    ]
    loose = [name for top in {"", *tops} for name in names_in(source / top) if _is_image(source / top / name)]
    if loose:
        raise DataError(
            f"{source}: the images {some_of(sorted(loose))} lie in no folder of an identity: move each to the folder "
            "of who it shows, or list all in a file labels.csv"
        )
    if not found:
        raise DataError(
            f"{source} holds neither a file labels.csv nor folders of images: list the images with path and pid in "
            "such a file, or put those of each person in a folder"
        )
    return Listing(
        place=str(source),
        lines=None,
        paths=[path for path, _, _ in found],
        identities=[identity for _, identity, _ in found],
        splits=[SPLIT_WORDS[top.casefold()] for _, _, top in found] if divided else None,
        cameras=None,
    )


def _folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    return [name for name in names_in(folder) if not name.startswith(".") and os.path.isdir(folder / name)]


def _images(folder: Path) -> Iterator[str]:
    """Images at any depth of a folder, as paths below it, in their order."""
    for name in names_in(folder):
        if os.path.isdir(folder / name) and not os.path.islink(folder / name):  # a link may lead back up
            yield from (f"{name}/{image}" for image in _images(folder / name))
        elif _is_image(folder / name):
            yield name


def _is_image(path: Path) -> bool:
    """Not one that is hidden: some systems leave a file `._1.jpg` beside `1.jpg`."""
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(path)
