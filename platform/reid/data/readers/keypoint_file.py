"""COCO's keypoint annotation files.

Legend: P annotated people of an image, J = 18 joints.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    NotRequired,  # pydantic takes no other below Python 3.12
)

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict

from reid.config import JOINTS, DataError, read_file
from reid.data.readers.checks import some_of

LARGEST = 1e5
"""Pixels of any coordinate; the largest images have a third of them."""
COMPRESSED_BITS = 35
"""Of a number in compressed run lengths."""

Whole = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Number = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Length = Annotated[float, Field(strict=True, ge=0, le=LARGEST, allow_inf_nan=False)]
Side = Annotated[float, Field(strict=True, gt=0, le=LARGEST, allow_inf_nan=False)]


def _has_pairs(polygon: list[float]) -> list[float]:
    if len(polygon) % 2:
        raise ValueError("a polygon has pairs of numbers")
    return polygon


class _RunLengths(TypedDict):
    counts: list[Whole] | str
    size: Annotated[list[Whole], Field(min_length=2, max_length=2)]


def _uncompressed(outline: _RunLengths) -> _RunLengths:
    given = outline["counts"]
    counts = _decompressed(given) if isinstance(given, str) else given
    if min(counts, default=0) < 0 or sum(counts) != outline["size"][0] * outline["size"][1]:
        raise ValueError("run lengths add up to the image")
    return {"counts": counts, "size": outline["size"]}


def _decompressed(text: str) -> list[int]:
    """Of COCO's six bits a character: the sign, and the difference to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift >= COMPRESSED_BITS:
            raise ValueError("no compressed run lengths")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths are cut short")
    return counts


class _Image(TypedDict):
    id: Whole
    file_name: str
    height: Side
    width: Side


class _Person(TypedDict):
    id: Whole
    image_id: Whole
    bbox: tuple[Number, Number, Length, Length]
    keypoints: list[Number]
    num_keypoints: NotRequired[Whole]
    iscrowd: NotRequired[Any]
    segmentation: NotRequired[
        list[Annotated[list[Number], Field(min_length=6), AfterValidator(_has_pairs)]]
        | Annotated[_RunLengths, AfterValidator(_uncompressed)]
        | None
    ]


Annotation = dict[str, Any]
_ENTRIES: dict[str, TypeAdapter[Any]] = {
    "images": TypeAdapter(list[_Image]),
    "annotations": TypeAdapter(list[_Person]),
}
_NEEDED = {"images": ("file_name", "height", "id", "width"), "annotations": ("bbox", "id", "image_id", "keypoints")}
_MEANT = {
    "id": "a whole number as id and text as file_name",
    "file_name": "a whole number as id and text as file_name",
    "height": "a positive height and width",
    "width": "a positive height and width",
    "image_id": "a whole number as image_id",
    "bbox": "four numbers as bbox, none of them vast and no size negative",
    "keypoints": "{count} numbers as keypoints, none of them vast",
    "num_keypoints": "a whole number as num_keypoints",
    "segmentation": "polygons or run lengths as segmentation, within the image",
}
"""What an entry needs, by field."""


@dataclass(frozen=True, kw_only=True)
class KeypointFile:
    """A file's contents."""

    images: dict[int, Annotation]
    people: dict[int, list[Annotation]]
    """Of every image, by its number."""
    order: list[int]
    """For each of our joints its position among the file's; the neck stands in as the nose until it is computed."""


def load_annotations(path: Path) -> KeypointFile:
    """The annotation file, checked.

    Raises:
        DataError: it is missing, or values in it are missing or cannot be meant.
    """
    try:
        content = from_json(read_file(path))
    except FileNotFoundError:
        raise DataError(f"there is no {path}: put the COCO annotations there") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no COCO annotation file, make or download it anew: {error}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} is no COCO annotation file, make or download it anew: it holds no images and annotations"
        )
    names = _joint_names(path, content.get("categories"))
    found = {what: _entries(path, what, content.get(what, []), 3 * len(names)) for what in _ENTRIES}
    images = {image["id"]: image for image in found["images"]}
    people: dict[int, list[Annotation]] = {number: [] for number in images}
    for person in found["annotations"]:
        people.setdefault(person["image_id"], []).append(person)
    order = [names.index("nose" if joint == "neck" else joint) for joint in JOINTS]
    return KeypointFile(images=images, people=people, order=order)


def _joint_names(path: Path, categories: Any) -> list[Any]:
    listed = [category for category in categories if isinstance(category, dict)] if isinstance(categories, list) else []
    known = next((category.get("keypoints") for category in listed if category.get("name") == "person"), None)
    names = known if isinstance(known, list) else []
    missing = [joint for joint in JOINTS if joint != "neck" and joint not in names]
    if missing:
        raise DataError(f"{path} names no {some_of(missing)} among its keypoints: use the person keypoints file")
    return names


def _entries(path: Path, what: str, given: Any, count: int) -> list[Annotation]:
    """Images or annotations, every one with values that can be meant."""
    try:
        entries: list[Annotation] = _ENTRIES[what].validate_python(given)
    except ValidationError as error:
        raise DataError(f"{path}: {_complaint(what, given, error, count)}") from error
    short = [entry["id"] for entry in entries if what == "annotations" and len(entry["keypoints"]) != count]
    if short:
        raise DataError(f"{path}: {what} {some_of(short)} need {count} numbers as keypoints: correct it")
    several = [number for number, times in Counter(entry["id"] for entry in entries).items() if times > 1]
    if several:
        raise DataError(f"{path}: {what} {some_of(several)} are there several times: give each an id of its own")
    return entries


def _complaint(what: str, given: Any, error: ValidationError, count: int) -> str:
    """What is wrong with the first wrong field, and all entries of which it is."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    places = [one["loc"] for one in details]
    if len(places[0]) < 2:
        return f"{what} are no list of objects: correct it"
    field = places[0][1]
    rows = dict.fromkeys(place[0] for place in places if place[1:2] == (field,))
    numbers = some_of(given[row].get("id", f"at position {row}") for row in rows)
    if details[0]["type"] == "missing" and len(places[0]) == 2:
        return f"{what} {numbers} lack {some_of(_NEEDED[what])}: use the person keypoints"
    return f"{what} {numbers} need {_MEANT[str(field)].format(count=count)}: correct it"


def joints_of(people: Sequence[Annotation], order: Sequence[int]) -> NDArray[np.float32]:
    """(x, y, v) of every person's joints in pixels of the source image; the neck, which COCO lacks, lies midway between
    labelled shoulders.

    Args:
        order: `KeypointFile.order`.
    """
    joints_PJ3 = np.array([person["keypoints"] for person in people], np.float32)
    joints_PJ3 = joints_PJ3.reshape(len(people), -1, 3)[:, order]
    shoulders_P23 = joints_PJ3[:, [JOINTS.index("right_shoulder"), JOINTS.index("left_shoulder")]]
    neck_P3 = shoulders_P23.mean(axis=1)
    neck_P3[:, 2] = shoulders_P23[:, :, 2].min(axis=1)
    joints_PJ3[:, JOINTS.index("neck")] = neck_P3
    return joints_PJ3
