"""Keypoint annotations in COCO's format.

Tsung-Yi Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reid.embedded.draw import Canvas
from reid.embedded.skeleton import Joints

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
FACE = KEYPOINTS[:5]
CATEGORY = {"supercategory": "person", "id": 1, "name": "person", "keypoints": KEYPOINTS, "skeleton": SKELETON}
ON_SURFACE, INSIDE_LIMB = 0.02, 0.08  # how deep a keypoint may lie and yet be seen, shares of the stature

Annotation = dict[str, Any]


def annotation_file(description: str, images: Sequence[Annotation], annotations: Sequence[Annotation]) -> Annotation:
    """The whole file; annotations are numbered from 1."""
    return {
        "info": {
            "description": description,
            "version": "1.0",
            "year": 2017,
            "contributor": "reid",
        },
        "licenses": [{"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": list(images),
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
        "categories": [CATEGORY],
    }


def keypoints_in(canvas: Canvas, owner: int, joints: Joints, box: list[float]) -> list[float]:
    """x, y, v of each keypoint: v 2 seen, 1 hidden, 0 (with x = y = 0) outside of the person's box."""
    left, top, width, height = box
    stature = float(np.linalg.norm(joints["crown"] - joints["left_ankle"]))
    values: list[float] = []
    for name in KEYPOINTS:
        depth = ON_SURFACE if name in FACE else INSIDE_LIMB
        x, y = (round(float(value), 1) for value in joints[name][:2])
        if not (left <= x <= left + width and top <= y <= top + height):
            values += [0.0, 0.0, 0]
        else:
            values += [x, y, 2 if canvas.is_visible(joints[name], owner, depth * stature) else 1]
    return values
