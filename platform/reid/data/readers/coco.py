"""COCO person keypoints: upright crops, one for each person who is large and annotated enough, or whole images.

Legend: P annotated people of an image, N stored images, M people in one at most, J = 18 joints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.config import JOINTS, DataError, Manifest
from reid.data.pixels import Box
from reid.data.readers.checks import names_in, require_folders, some_of
from reid.data.readers.keypoint_file import Annotation, KeypointFile, joints_of, load_annotations
from reid.data.readers.records import CropRecords, Records

FOLDERS = {"train": "train2017", "val": "val2017"}
MIN_JOINTS = 5
"""Labelled joints that a person needs to be the subject of a stored image."""
MIN_HEIGHT = 32
"""Pixels of the person's box in the source image, likewise."""
MARGIN = 1.25
"""Crop size relative to the person's box, before it is widened or heightened to the model's aspect ratio."""
MAX_PEOPLE = 8
"""People of a stored image whose joints are kept; those after them are ignored like the unannotated."""


@dataclass(frozen=True, kw_only=True)
class _View:
    """What one stored image shows of its source."""

    name: str
    box: Box
    order: Sequence[int]
    """Rows of the annotated people, the subject first, then those whose joints matter most."""


_Views = Callable[[Annotation, Sequence[Annotation], tuple[int, int]], list[_View]]
"""(image, its annotated people, (height, width) of the stored images) → views."""


def read_coco(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train` and `val` of the 2017 release as crops.

    Every person with at least `MIN_JOINTS` labelled joints and a box of `MIN_HEIGHT` pixels gives a crop. It shows
    other people too: all with a joint in it are in its keypoints, the subject first, then by distance; people without
    joints, crowds, and any beyond `MAX_PEOPLE` are in its ignore mask. The neck, which COCO lacks, lies midway between
    labelled shoulders.

    Raises:
        DataError: annotations or images are missing or malformed.
    """
    return _read(source, manifest, image_size, _crops)


def read_coco_whole(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train` and `val` of the 2017 release as whole images, between black bars where the aspect ratio differs.

    Every image with someone who would be the subject of a crop is kept. Its subject is the largest of those, by the
    area of the box; the others follow by size, then those who are too small or too little annotated. All else is as in
    `read_coco`.

    Raises:
        DataError: annotations or images are missing or malformed.
    """
    return _read(source, manifest, image_size, _whole)


def _read(source: Path, manifest: Manifest, image_size: tuple[int, int], views: _Views) -> dict[str, Records]:
    require_folders(source, ("annotations", *FOLDERS.values()), manifest.title)
    return {split: _read_split(source, folder, image_size, views) for split, folder in FOLDERS.items()}


def _read_split(source: Path, folder: str, image_size: tuple[int, int], views: _Views) -> Records:
    path = source / "annotations" / f"person_keypoints_{folder}.json"
    annotated = load_annotations(path)
    _require_plain_names(path, annotated)
    files, names, boxes, keypoints, ignored = [], [], [], [], []
    for number, image in sorted(annotated.images.items()):
        people = annotated.people[number]
        posed = [person for person in people if person.get("num_keypoints", 0) > 0 and not person.get("iscrowd")]
        unposed = [person for person in people if person.get("num_keypoints", 0) == 0 or person.get("iscrowd")]
        if not posed:
            continue
        joints_PJ3 = joints_of(posed, annotated.order)
        for view in views(image, posed, image_size):
            inside_PJ3 = _into_view(joints_PJ3, view.box, image_size)
            seen = [row for row in view.order if (inside_PJ3[row, :, 2] > 0).any()]
            left_out = unposed + [posed[row] for row in seen[MAX_PEOPLE:]]
            files.append(image["file_name"])
            names.append(view.name)
            boxes.append(view.box)
            keypoints.append(inside_PJ3[seen[:MAX_PEOPLE]])
            ignored.append(tuple(_outline(other) for other in left_out if _overlaps(other["bbox"], view.box)))
    if not files:
        raise DataError(f"{path} has nobody with {MIN_JOINTS} joints and {MIN_HEIGHT} pixels: download it again")
    missing = sorted(set(files) - set(names_in(source / folder)))
    if missing:
        raise DataError(f"{source / folder} lacks images that {path.name} lists: {some_of(missing)}: unpack it again")
    return Records(
        paths=tuple(f"{folder}/{file}" for file in files),
        names=tuple(names),
        pids_N=np.full(len(files), -1, np.int64),
        camids_N=np.full(len(files), -1, np.int64),
        attributes_NA=np.empty((len(files), 0), np.int8),
        crops=CropRecords(boxes_N4=np.array(boxes), keypoints_NMJ3=_padded(keypoints), ignored=tuple(ignored)),
    )


def _crops(image: Annotation, posed: Sequence[Annotation], image_size: tuple[int, int]) -> list[_View]:
    return [
        _View(
            name=f"{image['id']:012d}_{person['id']}",
            box=_around(person["bbox"], MARGIN, image_size),
            order=np.argsort(_distances(posed, row), kind="stable").tolist(),
        )
        for row, person in enumerate(posed)
        if _is_subject(person)
    ]


def _whole(image: Annotation, posed: Sequence[Annotation], image_size: tuple[int, int]) -> list[_View]:
    if not any(map(_is_subject, posed)):
        return []

    def importance(row: int) -> tuple[bool, float]:
        _, _, width, height = posed[row]["bbox"]
        return _is_subject(posed[row]), width * height

    box = _around((0, 0, image["width"], image["height"]), 1, image_size)
    return [_View(name=f"{image['id']:012d}", box=box, order=sorted(range(len(posed)), key=importance, reverse=True))]


def _require_plain_names(path: Path, annotated: KeypointFile) -> None:
    names = [image["file_name"] for image in annotated.images.values()]
    unsafe = [name for name in names if Path(name).name != name]
    if unsafe:
        raise DataError(f"{path} lists images outside their folder: {some_of(unsafe)}: do not use this file")


def _is_subject(person: Annotation) -> bool:
    return bool(person["num_keypoints"] >= MIN_JOINTS and person["bbox"][3] >= MIN_HEIGHT)


def _around(bbox: Sequence[float], margin: float, image_size: tuple[int, int]) -> Box:
    """The smallest box of the stored images' aspect ratio that holds `margin` times the given one at its centre."""
    left, top, width, height = bbox
    aspect = image_size[0] / image_size[1]
    outer_height = max(height, width * aspect) * margin
    outer_width = outer_height / aspect
    x, y = round(left + width / 2 - outer_width / 2), round(top + height / 2 - outer_height / 2)
    return x, y, x + max(round(outer_width), 1), y + max(round(outer_height), 1)


def _into_view(joints_PJ3: NDArray[np.float32], box: Box, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Joints in pixels of the stored image; those outside count as not labelled."""
    left, top, right, bottom = box
    height, width = image_size
    scale = np.array([width / (right - left), height / (bottom - top)], np.float32)
    xy_PJ2 = (joints_PJ3[..., :2] + 0.5 - np.array([left, top], np.float32)) * scale - 0.5
    inside_PJ = ((xy_PJ2 >= -0.5) & (xy_PJ2 < np.array([width, height]) - 0.5)).all(axis=-1)
    labelled_PJ1 = (inside_PJ & (joints_PJ3[..., 2] > 0))[..., None]
    return np.concatenate([xy_PJ2, joints_PJ3[..., 2:]], axis=-1) * labelled_PJ1


def _distances(people: Sequence[Annotation], subject: int) -> NDArray[np.float64]:
    boxes_P4 = np.array([person["bbox"] for person in people], np.float64)
    centres_P2 = boxes_P4[:, :2] + boxes_P4[:, 2:] / 2
    distances_P: NDArray[np.float64] = np.linalg.norm(centres_P2 - centres_P2[subject], axis=1)
    distances_P[subject] = -1  # first, even before someone whose box has the very same centre
    return distances_P


def _overlaps(bbox: Sequence[float], box: Box) -> bool:
    left, top, width, height = bbox
    return left < box[2] and top < box[3] and left + width > box[0] and top + height > box[1]


def _outline(person: Annotation) -> Any:
    """The person's segmentation, or the box where there is none."""
    left, top, width, height = person["bbox"]
    corners = [left, top, left + width, top, left + width, top + height, left, top + height]
    return person.get("segmentation") or [corners]


def _padded(keypoints: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One N × M × 18 × 3 array; rows without a person are zero, so not labelled."""
    padded = np.zeros((len(keypoints), max(map(len, keypoints)), len(JOINTS), 3), np.float32)
    for row, people in enumerate(keypoints):
        padded[row, : len(people)] = people
    return padded
