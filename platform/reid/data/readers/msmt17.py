"""MSMT17, versions 1 and 2: the list files say which images belong to which split."""

import itertools
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from reid.config import DataError, Manifest
from reid.data.readers.checks import (
    check_counts,
    check_identities,
    labels_in,
    leaves_folder,
    read_lines,
    require_folders,
    some_of,
)
from reid.data.readers.records import Records

LISTS = {"train": "list_train.txt", "val": "list_val.txt", "query": "list_query.txt", "gallery": "list_gallery.txt"}
FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
"""Of version 1, and of version 2, whose faces are masked."""


def read_msmt17(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train`, `val`, `query` and `gallery`.

    `val` shows the identities of `train`. It stays a split of its own and is not trained on, as in most published
    results. The lists number the identities of the training and of the test set from 0 each; here they are numbered
    from 1, those of the test set after those of the training set.

    Raises:
        DataError: lists, folders or images are missing or contradict each other, with the line.
    """
    train, test = next((pair for pair in FOLDERS if all(os.path.isdir(source / folder) for folder in pair)), FOLDERS[0])
    require_folders(source, (train, test), manifest.title)
    folders = {"train": train, "val": train, "query": test, "gallery": test}
    listed = {split: _read_list(source, name, folders[split], manifest) for split, name in LISTS.items()}
    for one, other in itertools.combinations(LISTS, 2):
        shared = sorted(set(listed[one].paths) & set(listed[other].paths))
        if shared:
            raise DataError(
                f"{source}: {some_of(shared)} are in both {LISTS[one]} and {LISTS[other]}: download the lists again"
            )
    first_test = 2 + max(int(listed[split].pids_N.max()) for split in ("train", "val"))
    splits = {
        split: replace(records, pids_N=records.pids_N + (1 if folders[split] == train else first_test))
        for split, records in listed.items()
    }
    check_identities(splits, source)
    check_counts(manifest, splits, source)
    return splits


def _read_list(source: Path, name: str, folder: str, manifest: Manifest) -> Records:
    """Read lines such as `0000/0000_000_01_0303morning_0008_0.jpg 0`."""
    line_of: dict[str, int] = {}
    labels: list[tuple[int, int]] = []
    for number, line in read_lines(source / name):
        match = re.fullmatch(r"(?P<path>(?:[^/ ]+/)*(?P<file>[^/ ]+)) +(?P<pid>[0-9]{1,9})", line)
        place = f"{source / name}, line {number}"
        if match is None or leaves_folder(match["path"]):
            raise DataError(f"{place}: '{line}' is no path within {folder}/ and an identity: download the list again")
        labelled = labels_in(match["file"], manifest)
        if labelled is None or not 1 <= labelled[1] <= (manifest.cameras or np.inf):
            raise DataError(
                f"{place}: the name {match['file']} tells no camera 1..{manifest.cameras} (expected "
                f"{manifest.file_name}): download the list again"
            )
        if labelled[0] != int(match["pid"]):
            raise DataError(
                f"{place}: {match['file']} is listed as identity {match['pid']}: download the list again, or rename "
                "the image"
            )
        if match["path"] in line_of:
            raise DataError(f"{place}: {match['path']} is in line {line_of[match['path']]} already: keep one")
        line_of[match["path"]] = number
        labels.append(labelled)
    paths = tuple(f"{folder}/{path}" for path in line_of)
    if not paths:
        raise DataError(f"{source / name} lists no images: download it again")
    missing = [path for path in paths if not os.path.isfile(source / path)]
    if missing:
        raise DataError(f"{source} lacks images that {name} lists: {some_of(missing)}: unpack {manifest.title} again")
    labels_N2 = np.array(labels, np.int64)
    return Records(
        paths=paths,
        names=tuple(path.rpartition("/")[2] for path in paths),
        pids_N=labels_N2[:, 0],
        camids_N=labels_N2[:, 1],
        attributes_NA=np.empty((len(paths), 0), np.int8),
    )
