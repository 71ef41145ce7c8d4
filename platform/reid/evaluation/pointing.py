# ruff: noqa: N815 - fields carry their shape as a suffix
"""Whether branches look at their own parts (the pointing game, Zhang et al., "Top-down Neural Attention by Excitation
Backprop", ECCV 2016).

Legend: B images, M people, J = 18 joints, h × w map cells, 2 = (x, y).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.config import JOINTS, LIMBS, Part
from reid.evaluation.pose import centres, torso_diameters

ON_PART = 0.1
"""Largest distance of a cell's centre from a joint or limb that it lies on, in torso diameters: a limb's half width."""


@dataclass(frozen=True, kw_only=True)
class Pointed:
    """Where a branch looked, image by image."""

    counted_B: Tensor
    """bool: the subject has a torso to measure by, and something of the part is labelled."""
    hit_B: Tensor
    """bool: counted, and the strongest cell lies on the part."""


def judge_pointing(map_Bhw: Tensor, keypoints_BMJ3: Tensor, part: Part) -> Pointed:
    """Whether the strongest cell of each map lies on a part of the subject, row 0 of the people.

    A cell lies on the part if its centre is within `ON_PART` torso diameters of one of the part's joints, or of the
    line between the ends of one of its limbs. Occluded joints count as others do.

    Args:
        keypoints_BMJ3: (x, y, visibility) in input pixels, pixel centres at whole numbers; M is 1 at least.
    """
    subject_BJ2, labelled_BJ = keypoints_BMJ3[:, 0, :, :2], keypoints_BMJ3[:, 0, :, 2] > 0
    torso_B = torso_diameters(subject_BJ2, labelled_BJ)
    y_h, x_w = (centres(cells, map_Bhw.device) for cells in map_Bhw.shape[1:])
    strongest_B = map_Bhw.flatten(1).argmax(dim=1)
    cell_B2 = torch.stack((x_w[strongest_B % len(x_w)], y_h[strongest_B // len(x_w)]), dim=1)
    ends = [(JOINTS.index(joint),) * 2 for joint in part.joints]
    ends += [(JOINTS.index(start), JOINTS.index(end)) for start, end in LIMBS if f"{start}-{end}" in part.limbs]
    starts_S, ends_S = (list(side) for side in zip(*ends, strict=True))
    distance_BS = _distance_to_lines(cell_B2, subject_BJ2[:, starts_S], subject_BJ2[:, ends_S])
    distance_BS = distance_BS.masked_fill(~(labelled_BJ[:, starts_S] & labelled_BJ[:, ends_S]), torch.inf)
    nearest_B = distance_BS.amin(dim=1)
    counted_B = (torso_B > 0) & nearest_B.isfinite()
    return Pointed(counted_B=counted_B, hit_B=counted_B & (nearest_B <= ON_PART * torso_B))


def _distance_to_lines(point_B2: Tensor, start_BS2: Tensor, end_BS2: Tensor) -> Tensor:
    """Distances (B, S) of a point from each of S lines, which may be points themselves."""
    line_BS2, way_BS2 = end_BS2 - start_BS2, point_B2[:, None] - start_BS2
    squared_BS = (line_BS2**2).sum(dim=-1)
    along_BS = ((way_BS2 * line_BS2).sum(dim=-1) / squared_BS.clamp(min=1e-12)).clamp(0, 1)
    distances_BS: Tensor = torch.linalg.vector_norm(way_BS2 - along_BS[..., None] * line_BS2, dim=-1)
    return distances_BS
