"""COCO's keypoint annotation files.

Legend: P annotated people of an image, J = 18 joints.
"""

import contextlib
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from reid.config import JOINTS, DataError
from reid.data.readers.checks import some_of

Annotation = dict[str, Any]


def load_annotations(path: Path) -> tuple[Any, list[int]]:
    """The annotation file, checked, and for each of our joints its position among the file's.

    Raises:
        DataError: it is missing, or values in it are missing or cannot be meant.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its timings
            coco = COCO(path)
    except FileNotFoundError:
        raise DataError(f"there is no {path}: unpack the COCO annotations there") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, AssertionError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no COCO annotation file, download it again: {error!r}") from error
    for what, entries, needed in (
        ("annotations", coco.anns, {"image_id", "bbox", "keypoints"}),
        ("images", coco.imgs, {"file_name", "height", "width"}),
    ):
        broken = [number for number, entry in entries.items() if not needed <= entry.keys()]
        if broken:
            raise DataError(
                f"{path}: {what} {some_of(broken)} lack {some_of(sorted(needed))}: use the person keypoints"
            )
    unnamed = [
        number
        for number, image in coco.imgs.items()
        if not (isinstance(number, int) and isinstance(image["file_name"], str))
    ]
    if unnamed:
        raise DataError(
            f"{path}: images {some_of(unnamed)} need a whole number as id and text as file_name: correct it"
        )
    sizeless = [
        number
        for number, image in coco.imgs.items()
        if not (_are_numbers([image["height"], image["width"]], 2) and min(image["height"], image["width"]) > 0)
    ]
    if sizeless:
        raise DataError(f"{path}: images {some_of(sizeless)} need a positive height and width: correct it")
    order = _joint_order(path, coco)
    _check_people(path, coco)
    return coco, order


def _joint_order(path: Path, coco: Any) -> list[int]:
    """For each of our joints its position among COCO's; the neck stands in as the nose until it is computed."""
    known = next(
        (category.get("keypoints") for category in coco.cats.values() if category.get("name") == "person"), None
    )
    missing = [joint for joint in JOINTS if joint != "neck" and joint not in (known or ())]
    if known is None or missing:
        raise DataError(f"{path} names no {some_of(missing)} among its keypoints: use the person keypoints file")
    return [known.index("nose" if joint == "neck" else joint) for joint in JOINTS]


def _check_people(path: Path, coco: Any) -> None:
    """Raise unless every annotation has values that can be meant."""
    names = next(category["keypoints"] for category in coco.cats.values() if category.get("name") == "person")
    checks: dict[str, Callable[[Annotation], bool]] = {
        "four numbers as bbox": lambda person: _are_numbers(person["bbox"], 4),
        f"{3 * len(names)} numbers as keypoints": lambda person: _are_numbers(person["keypoints"], 3 * len(names)),
        "a whole number as num_keypoints": lambda person: isinstance(person.get("num_keypoints", 0), int),
        "polygons or run lengths as segmentation": lambda person: _is_outline(person.get("segmentation") or []),
    }
    for what, holds in checks.items():
        broken = [number for number, person in coco.anns.items() if not holds(person)]
        if broken:
            raise DataError(f"{path}: annotations {some_of(broken)} need {what}: correct it, or download it again")


def _are_numbers(values: Any, count: int) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _is_outline(outline: Any) -> bool:
    if isinstance(outline, dict):
        counts, size = outline.get("counts"), outline.get("size")
        return isinstance(counts, list | str) and _are_numbers(size, 2)
    return isinstance(outline, list) and all(
        isinstance(polygon, list) and len(polygon) > 4 and _are_numbers(polygon, len(polygon)) for polygon in outline
    )


def joints_of(people: Sequence[Annotation], order: Sequence[int]) -> NDArray[np.float32]:
    """(x, y, v) of every person's joints in pixels of the source image; the neck, which COCO lacks, lies midway between
    labelled shoulders.

    Args:
        order: from `load_annotations`.
    """
    joints_PJ3 = np.array([person["keypoints"] for person in people], np.float32)
    joints_PJ3 = joints_PJ3.reshape(len(people), -1, 3)[:, order]
    shoulders_P23 = joints_PJ3[:, [JOINTS.index("right_shoulder"), JOINTS.index("left_shoulder")]]
    neck_P3 = shoulders_P23.mean(axis=1)
    neck_P3[:, 2] = shoulders_P23[:, :, 2].min(axis=1)
    joints_PJ3[:, JOINTS.index("neck")] = neck_P3
    return joints_PJ3
