"""Market-1501 in its original folders."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from reid.data.errors import DataError
from reid.data.manifests import Manifest
from reid.data.readers.attributes import IdentityAttributes, read_attributes
from reid.data.readers.checks import check_counts, check_identities, require_folders, some_of
from reid.data.readers.records import Records

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
ATTRIBUTE_FILES = ("market_attribute.mat", "attribute/market_attribute.mat")
IMAGE_SUFFIXES = (".jpg", ".png")
JUNK = -1


def read_market1501(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train`, `query` and `gallery` as the benchmark's protocol has it: junk dropped, distractors kept.

    Raises:
        DataError: folders, images or annotations are missing or contradict each other.
    """
    require_folders(source, FOLDERS.values(), manifest.title)
    splits = {split: _read_split(source, folder, manifest) for split, folder in FOLDERS.items()}
    check_identities(splits, source)
    check_counts(manifest, splits, source)
    annotated = _attributes(source, manifest)
    return {
        split: replace(
            records, attributes_NA=annotated["train" if split == "train" else "test"].of_images(records.pids_N)
        )
        for split, records in splits.items()
    }


def _attributes(source: Path, manifest: Manifest) -> dict[str, IdentityAttributes]:
    for name in ATTRIBUTE_FILES:
        if (source / name).is_file():
            return read_attributes(source / name, "market_attribute", manifest.attributes)
    raise DataError(
        f"{source} has neither {' nor '.join(ATTRIBUTE_FILES)}, which supervises the attributes: put it there; "
        f"where to get it: {manifest.url}"
    )


def _read_split(source: Path, folder: str, manifest: Manifest) -> Records:
    assert manifest.file_name is not None
    names = sorted(path.name for path in (source / folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not names:
        raise DataError(f"{source / folder} holds no .jpg or .png: unpack {manifest.title} again")
    matches = {name: re.match(manifest.file_name, name) for name in names}
    unnamed = [name for name, match in matches.items() if match is None]
    if unnamed:
        raise DataError(
            f"{source / folder}: the names of {some_of(unnamed)} tell no identity and camera (expected "
            f"{manifest.file_name}): rename or remove them"
        )
    found = np.array([(int(match["pid"]), int(match["camid"])) for match in matches.values() if match], np.int64)
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
