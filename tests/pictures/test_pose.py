"""What the picture says, read back from its pixels."""

from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor

from reid.config import JOINTS, LIMBS
from reid.evaluation.pose import JudgedJoints
from reid.models import PoseMaps
from reid.pictures.pose import CORRECT, HEIGHT, MISSED, NOT_COUNTED, pose_picture
from reid.pictures.sheet import FRAME

IMAGE = (128, 64)
SIZE = (HEIGHT, HEIGHT // 2)


def drawn(
    *,
    keypoints_BMJ3: Tensor | None = None,
    found_BJ2: Tensor | None = None,
    correct_BJ: Tensor | None = None,
    counted_BJ: Tensor | None = None,
    confidence_BJhw: Tensor | None = None,
    affinity_BLhw: Tensor | None = None,
) -> list[list[NDArray[np.int64]]]:
    """Rows of images of the picture of two grey images, for what is given; nothing else is seen."""
    nothing_BJ = torch.zeros(2, 18, dtype=torch.bool)
    png = pose_picture(
        torch.full((2, *IMAGE, 3), 128, dtype=torch.uint8),
        torch.zeros(2, 1, 18, 3) if keypoints_BMJ3 is None else keypoints_BMJ3,
        PoseMaps(
            confidence_BJhw=torch.zeros(2, 19, 16, 8) if confidence_BJhw is None else confidence_BJhw,
            affinity_BLhw=torch.zeros(2, 38, 16, 8) if affinity_BLhw is None else affinity_BLhw,
        ),
        JudgedJoints(
            found_BJ2=torch.zeros(2, 18, 2) if found_BJ2 is None else found_BJ2,
            correct_BJ=nothing_BJ if correct_BJ is None else correct_BJ,
            counted_BJ=nothing_BJ if counted_BJ is None else counted_BJ,
        ),
    )
    sheet = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(np.int64)
    frames = (sheet == ImageColor.getrgb("#777777")).all(axis=2)
    rows = _starts(frames.sum(axis=1) > 2 * SIZE[1], SIZE[0] + 2 * FRAME)
    columns = _starts(frames.sum(axis=0) > 4 * SIZE[0], SIZE[1] + 2 * FRAME)
    assert (len(rows), len(columns)) == (5, 2)
    return [[sheet[y + FRAME : y + FRAME + SIZE[0], x + FRAME : x + FRAME + SIZE[1]] for x in columns] for y in rows]


def _starts(framed: NDArray[np.bool_], length: int) -> list[int]:
    """First pixels of stretches of `length` that begin and end with a frame."""
    return [
        start
        for start in np.flatnonzero(framed).tolist()
        if start + length <= len(framed) and framed[[start, start + length - 1]].all() and not framed[start - 1]
    ]


def shows(image: NDArray[np.int64], colour: str, x: float, y: float) -> bool:
    """At a place in pixels of the stored image."""
    place = image[round((y + 0.5) * SIZE[0] / IMAGE[0]), round((x + 0.5) * SIZE[1] / IMAGE[1])]
    return bool(np.abs(place - ImageColor.getrgb(colour)).max() < 40)


def test_joints_have_the_colour_of_their_judgement_where_they_are_and_where_they_are_found() -> None:
    places = {"nose": (20, 30), "left_knee": (40, 60), "right_ankle": (50, 100)}
    keypoints, found_BJ2 = torch.zeros(2, 2, 18, 3), torch.zeros(2, 18, 2)
    for joint, (x, y) in places.items():
        keypoints[1, 0, JOINTS.index(joint)] = torch.tensor([x, y, 2.0])
        found_BJ2[1, JOINTS.index(joint)] = torch.tensor([x - 15.0, y + 12.0])
    keypoints[1, 1, 4] = torch.tensor([10, 110, 2.0])  # somebody else's
    counted, correct = torch.zeros(2, 2, 18, dtype=torch.bool)
    counted[1, [JOINTS.index("nose"), JOINTS.index("left_knee")]] = True
    correct[1, JOINTS.index("nose")] = True
    images, annotated, found, _, _ = drawn(
        keypoints_BMJ3=keypoints, found_BJ2=found_BJ2, counted_BJ=counted, correct_BJ=correct
    )
    for (joint, (x, y)), colour in zip(places.items(), (CORRECT, MISSED, NOT_COUNTED), strict=True):
        assert shows(annotated[1], colour, x, y), joint
        assert shows(found[1], colour, x - 15, y + 12), joint
        assert not shows(found[1], colour, x, y), joint
    assert shows(found[1], "#808080", 0.5, 0.5), "what is not labelled is not drawn"
    assert shows(annotated[1], "#808080", 10, 110)
    assert all((np.abs(image - 128) < 3).all() for image in (*images, annotated[0], found[0]))


def test_maps_light_up_where_they_are_high_and_on_one_scale() -> None:
    confidence, affinity = torch.zeros(2, 19, 16, 8), torch.zeros(2, 38, 16, 8)
    confidence[0, 3, 4, 2], confidence[1, 7, 12, 6] = 0.8, 0.4
    confidence[:, 18] = 5.0  # the background is no joint
    affinity[1, 2 * 5, 8, 4], affinity[1, 2 * 5 + 1, 8, 4] = -0.3, 0.4
    assert affinity.shape[1] == 2 * len(LIMBS)
    *_, joints, limbs = drawn(confidence_BJhw=confidence, affinity_BLhw=affinity)
    lit = [_brightest(image) for image in (*joints, *limbs)]
    assert [lit[0], lit[1], lit[3]] == [(4, 2), (12, 6), (8, 4)]
    brightness = [image.sum(axis=2).max() for image in (*joints, *limbs)]
    assert brightness[0] > brightness[1] > brightness[2]
    assert np.ptp(limbs[0]) < np.ptp(limbs[1]), "nothing is seen of the first"


def _brightest(image: NDArray[np.int64]) -> tuple[int, int]:
    """Row and column of the map's cell."""
    y, x = np.unravel_index(image.sum(axis=2).argmax(), SIZE)
    return int(y) * 16 // SIZE[0], int(x) * 8 // SIZE[1]


def test_a_net_that_sees_nothing_is_drawn() -> None:
    for image in drawn()[3]:
        assert np.ptp(image.reshape(-1, 3), axis=0).max() < 3
