"""Images of people, each with the texture of who it shows: a folder of images and one of textures for each split."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reid.config import DataError, Manifest
from reid.data.readers.checks import check_counts, require_folders, require_printable, some_of
from reid.data.readers.records import Records
from reid.data.readers.texture_files import files_by_name, missing_of, names_of

SPLITS = ("train", "val")
IMAGES, TEXTURES, SEEN = "images", "textures", "seen"
"""Folders of a split. The last, of masks named as the images are, may be missing; white is what an image shows."""


def read_texture_pairs(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train` and `val`.

    An image has the texture of its own name, whatever the suffixes, or that which the manifest's `textures.file_name`
    finds in its name: then several images share one.

    Raises:
        DataError: folders are missing, names tell no texture, or images and textures do not pair.
    """
    textures = TEXTURES if manifest.textures is None else manifest.textures.folder
    folders = [f"{split}/{folder}" for split in SPLITS for folder in (IMAGES, textures)]
    require_folders(source, folders, manifest.title)
    splits = {split: _read_split(source, split, textures, manifest) for split in SPLITS}
    require_printable((name for records in splits.values() for name in records.names), source)
    check_counts(manifest, splits, source)
    return splits


def _read_split(source: Path, split: str, folder: str, manifest: Manifest) -> Records:
    paths = tuple(files_by_name(source, f"{split}/{IMAGES}").values())
    if not paths:
        raise DataError(f"{source / split / IMAGES} holds no .jpg or .png: put the images there")
    names = names_of(paths, manifest, source)
    textures = _paired(source, f"{split}/{folder}", names, "textures")
    seen = None
    if os.path.lexists(source / split / SEEN):
        masks = _paired(source, f"{split}/{SEEN}", {path: Path(path).stem for path in paths}, "masks")
        seen = tuple(masks[path] for path in paths)
    return Records(
        paths=paths,
        names=tuple(Path(path).name for path in paths),
        pids_N=np.full(len(paths), -1, np.int64),
        camids_N=np.full(len(paths), -1, np.int64),
        attributes_NA=np.empty((len(paths), 0), np.int8),
        textures=tuple(textures[path] for path in paths),
        seen=seen,
    )


def _paired(source: Path, folder: str, names: Mapping[str, str], what: str) -> dict[str, str]:
    """The file of each image, given their names.

    Raises:
        DataError: an image has none, or one belongs to no image.
    """
    files = files_by_name(source, folder)
    missing = missing_of(names, files)
    unused = sorted(set(files) - set(names.values()))
    problems = [f"it lacks {some_of(missing)}"] if missing else []
    problems += [f"{some_of(files[name] for name in unused)} belong to no image"] if unused else []
    if problems:
        raise DataError(
            f"{source / folder}: {len(names)} images and {len(files)} {what} do not pair: {'; '.join(problems)}. Add "
            "what is missing and remove what is left over, or correct textures.file_name in the manifest"
        )
    return {path: files[name] for path, name in names.items()}
