"""The layout that Market-1501 introduced: a folder for each split, identity and camera in the file names."""

from pathlib import Path

import numpy as np

from reid.config import DataError, Manifest
from reid.data.readers.checks import (
    check_counts,
    check_identities,
    labels_in,
    names_in,
    require_folders,
    require_printable,
    some_of,
)
from reid.data.readers.records import Records

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
IMAGE_SUFFIXES = (".jpg", ".png")
JUNK = -1


def read_folders(source: Path, manifest: Manifest, within: str = "") -> dict[str, Records]:
    """Read `train`, `query` and `gallery`, without attributes; junk (pid -1) is dropped.

    Args:
        within: folder of the source that holds those of the splits, with a slash at its end; none = the source itself.

    Raises:
        DataError: folders or images are missing, misnamed, not as many as expected, or contradict each other.
    """
    folders = {split: f"{within}{folder}" for split, folder in FOLDERS.items()}
    require_folders(source, folders.values(), manifest.title)
    splits = {split: _read_folder(source, folder, manifest) for split, folder in folders.items()}
    check_identities(splits, source)
    check_counts(manifest, splits, source)
    return splits


def _read_folder(source: Path, folder: str, manifest: Manifest) -> Records:
    names = [name for name in names_in(source / folder) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise DataError(f"{source / folder} holds no .jpg or .png: unpack {manifest.title} again")
    require_printable(names, source / folder)
    labels = {name: labels_in(name, manifest) for name in names}
    unnamed = [name for name, found in labels.items() if found is None]
    if unnamed:
        raise DataError(
            f"{source / folder}: the names of {some_of(unnamed)} tell no identity and camera (expected "
            f"{manifest.file_name}): rename or remove them"
        )
    found = np.array(list(labels.values()), np.int64)
    strange = (found[:, 1] < 1) | (found[:, 1] > (manifest.cameras or np.inf))
    if strange.any():
        files = some_of(np.array(names)[strange])
        raise DataError(f"{source / folder}: cameras are numbered 1..{manifest.cameras}: rename or remove {files}")
    kept = np.flatnonzero(found[:, 0] != JUNK)
    return Records(
        paths=tuple(f"{folder}/{names[row]}" for row in kept),
        names=tuple(names[row] for row in kept),
        pids_N=found[kept, 0],
        camids_N=found[kept, 1],
        attributes_NA=np.empty((len(kept), 0), np.int8),
    )
