"""Joints of person images, from a file beside them.

Legend: N images of a split, J = 18 joints.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reid.config import JOINTS, DataError, Manifest
from reid.data.readers.checks import some_of
from reid.data.readers.keypoint_file import joints_of, load_annotations
from reid.data.readers.records import Records


def with_keypoints(
    splits: Mapping[str, Records], source: Path, manifest: Manifest, image_size: tuple[int, int]
) -> dict[str, Records]:
    """Records with the joints of the one person that each image is of; an image that the file lacks has none.

    The file's images are named by their path in the source folder, and hold one annotation each.

    Raises:
        DataError: the file is missing or malformed, has none of the images, or several annotations of one.
    """
    if manifest.keypoints is None:
        return dict(splits)
    path = source / manifest.keypoints
    annotated = load_annotations(path)
    people: dict[str, tuple[Any, list[Any]]] = {}
    for number, image in annotated.images.items():
        people.setdefault(image["file_name"], (image, []))[1].extend(annotated.people[number])
    if crowded := [name for name, (_, found) in people.items() if len(found) > 1]:
        raise DataError(f"{path}: images {some_of(crowded)} need one annotation each, of the person that they are of")
    if not any(name in people for records in splits.values() for name in records.paths):
        raise DataError(f"{path} has none of the images: name them by their path in {source}")
    return {split: _annotated(records, people, annotated.order, image_size) for split, records in splits.items()}


def _annotated(
    records: Records, people: Mapping[str, tuple[Any, Any]], order: list[int], image_size: tuple[int, int]
) -> Records:
    keypoints_N1J3 = np.zeros((len(records), 1, len(JOINTS), 3), np.float32)
    for row, name in enumerate(records.paths):
        image, found = people.get(name, (None, ()))
        if found:
            scale = np.array([image_size[1] / image["width"], image_size[0] / image["height"]], np.float32)
            joints_J3 = joints_of(found, order)[0]
            joints_J3[:, :2] = (joints_J3[:, :2] + 0.5) * scale - 0.5
            keypoints_N1J3[row, 0] = joints_J3 * (joints_J3[:, 2:] > 0)
    return replace(records, keypoints_N1J3=keypoints_N1J3)
