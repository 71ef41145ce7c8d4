"""A picture of what the pose resolve net sees.

Legend: B images, M people, J = 18 joints, K = J + background, L = 38 affinity channels, h × w map cells,
        H × W stored pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from reid.config import JOINTS, LIMBS
from reid.evaluation import THRESHOLD, JudgedJoints
from reid.models import PoseMaps
from reid.pictures.sheet import FAINT, Sheet

HEIGHT = 192
"""Pixels of an image on the sheet."""
RADIUS = 2.5
"""Of a joint, likewise."""
FINER = 2
"""Drawn pixels per pixel of the sheet."""
CORRECT, MISSED, NOT_COUNTED, LIMB = "#009E73", "#D55E00", "#BBBBBB", "#F0E442"
"""Colours by Okabe and Ito, which the colour-blind tell apart."""
HEAT, IMAGE_UNDER_HEAT = "inferno", 0.5


def pose_picture(images_BHW3: Tensor, keypoints_BMJ3: Tensor, maps: PoseMaps, judged: JudgedJoints) -> bytes:
    """A PNG with a column for each image: itself, its joints as annotated and as the net finds them, its maps laid over
    it.

    Of the confidence maps it shows the highest joint in each cell, of the affinity fields the longest vector.

    Args:
        images_BHW3: uint8 pixels.
        keypoints_BMJ3: (x, y, visibility) in these pixels; row 0 is the subject.
        maps: what the net sees.
        judged: the joints, as `judge_joints` found them.
    """
    height, width = images_BHW3.shape[1:3]
    size = (round(FINER * HEIGHT * width / height), FINER * HEIGHT)
    images = [Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in images_BHW3.cpu().numpy()]
    confidence_Bhw = maps.confidence_BJhw[:, : len(JOINTS)].float().amax(dim=1).clamp(min=0)
    affinity_BLhw = maps.affinity_BLhw.float()
    affinity_Bhw = torch.hypot(affinity_BLhw[:, 0::2], affinity_BLhw[:, 1::2]).amax(dim=1)
    found = zip(judged.correct_BJ.sum(dim=1).tolist(), judged.counted_BJ.sum(dim=1).tolist(), strict=True)
    sheet = Sheet(
        title="What the pose resolve net sees of people held out of its training",
        columns=[f"{correct} of {counted}\nfound" for correct, counted in found],
        rows=[
            "image",
            "annotated",
            "found",
            f"confidence\n0 to {confidence_Bhw.max():.2f}",
            f"affinity\n0 to {affinity_Bhw.max():.2f}",
        ],
        cell=(size[0] // FINER, HEIGHT),
        legend=[
            (CORRECT, f"found within {THRESHOLD} torso diameters"),
            (MISSED, "missed"),
            (NOT_COUNTED, "without a torso to measure by"),
            (Image.fromarray(_colours(np.linspace(0, 1, 256)[None])), "from 0 to the row's greatest"),
        ],
    )
    confidence_heat, affinity_heat = _heat(confidence_Bhw, size), _heat(affinity_Bhw, size)
    for column, image in enumerate(images):
        annotated_J3 = keypoints_BMJ3[column, 0]
        found_J3 = torch.cat((judged.found_BJ2[column], annotated_J3[:, 2:]), dim=1)
        sheet.place(0, column, np.asarray(image), frame=FAINT)
        for row, joints_J3 in ((1, annotated_J3), (2, found_J3)):
            scaled_J3 = joints_J3 * joints_J3.new_tensor([size[0] / width, size[1] / height, 1])
            skeleton = _with_skeleton(image, scaled_J3, judged.correct_BJ[column], judged.counted_BJ[column])
            sheet.place(row, column, np.asarray(skeleton), frame=FAINT)
        for row, heat in ((3, confidence_heat), (4, affinity_heat)):
            sheet.place(row, column, np.asarray(Image.blend(heat[column], image, IMAGE_UNDER_HEAT)), frame=FAINT)
    return sheet.png()


def _with_skeleton(image: Image.Image, joints_J3: Tensor, correct_J: Tensor, counted_J: Tensor) -> Image.Image:
    """The image with joints, those that are labelled, in its own pixels, and the limbs between them."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    labelled = {name: (x, y) for name, (x, y, visibility) in zip(JOINTS, joints_J3.tolist(), strict=True) if visibility}
    for start, end in LIMBS:
        if start in labelled and end in labelled:
            draw.line((*labelled[start], *labelled[end]), LIMB, width=FINER)
    for name, correct, counted in zip(JOINTS, correct_J.tolist(), counted_J.tolist(), strict=True):
        if name in labelled:
            colour = CORRECT if correct else MISSED if counted else NOT_COUNTED
            draw.circle(labelled[name], RADIUS * FINER, colour, "white", FINER // 2)
    return image


def _heat(maps_Bhw: Tensor, size: tuple[int, int]) -> list[Image.Image]:
    """Non-negative maps, interpolated to (width, height), in colours on one scale."""
    scaled_Bhw = (maps_Bhw / maps_Bhw.max().clamp(min=1e-6)).cpu()
    large_BHW = F.interpolate(scaled_Bhw[:, None], size[::-1], mode="bilinear")[:, 0]
    return [Image.fromarray(_colours(large_HW)) for large_HW in large_BHW.numpy()]


def _colours(values_HW: NDArray[np.floating]) -> NDArray[np.uint8]:
    colours_HW4: NDArray[np.uint8] = colormaps[HEAT](values_HW, bytes=True)
    return np.ascontiguousarray(colours_HW4[..., :3])
