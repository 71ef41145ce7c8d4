# ruff: noqa: N815 - fields carry their shape as a suffix
"""Percentage of correct keypoints (PCK) of confidence maps.

A joint is correct within 0.2 of the torso's diameter, the distance from a shoulder to the opposite hip (Sapp & Taskar,
"MODEC: Multimodal Decomposable Models for Human Pose Estimation", CVPR 2013).

Legend: B images, M people, J = 18 joints, K = J + background, h × w map cells, 2 = (x, y).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.config import JOINTS
from reid.models import POSE_STRIDE

THRESHOLD = 0.2
"""Largest distance of a correct joint, in torso diameters."""
REACH = 0.5
"""How far around the subject's joints their maxima are sought, in torso diameters."""

_SHOULDERS = [JOINTS.index(f"{side}_shoulder") for side in ("left", "right")]
_OPPOSITE_HIPS = [JOINTS.index(f"{side}_hip") for side in ("right", "left")]


@dataclass(frozen=True, kw_only=True)
class JudgedJoints:
    """The joints of each image's subject."""

    found_BJ2: Tensor
    """Where the maps have their maximum, input pixels."""
    counted_BJ: Tensor
    """bool: labelled, of a subject whose torso is."""
    correct_BJ: Tensor
    """bool: counted, and found where they are."""


def judge_joints(confidence_BKhw: Tensor, keypoints_BMJ3: Tensor) -> JudgedJoints:
    """Compare the maxima of confidence maps with the joints of the subject, row 0 of the people.

    Maps show everyone's joints and do not say whose they are. So a joint is sought near the subject, in the cells that
    touch the box around its labelled joints widened by half a torso diameter on each side, and there in those that are
    nearer to it than to the same joint of anyone else. Occluded joints count as others do. A subject without a labelled
    diagonal from shoulder to hip has no scale and is not counted; of two, the longer counts, as perspective shortens.

    Args:
        confidence_BKhw: maps of the joints; whatever follows them is not used.
        keypoints_BMJ3: (x, y, visibility) in input pixels, pixel centres at whole numbers; M is 1 at least.
    """
    subject_BJ2, labelled_BJ = keypoints_BMJ3[:, 0, :, :2], keypoints_BMJ3[:, 0, :, 2] > 0
    torso_B1 = torso_diameters(subject_BJ2, labelled_BJ)[:, None]
    y_h, x_w = (centres(cells, keypoints_BMJ3.device) for cells in confidence_BKhw.shape[-2:])
    near_B1hw = _near_subject(subject_BJ2, labelled_BJ, REACH * torso_B1, y_h, x_w)[:, None]
    searched_BJhw = near_B1hw & _nearest_to_subject(keypoints_BMJ3, y_h, x_w)
    found_BJ2 = locate_joints(confidence_BKhw[:, : len(JOINTS)], searched_BJhw)
    counted_BJ = labelled_BJ & (torso_B1 > 0)
    is_close_BJ = torch.linalg.vector_norm(found_BJ2 - subject_BJ2, dim=-1) <= THRESHOLD * torso_B1
    return JudgedJoints(found_BJ2=found_BJ2, counted_BJ=counted_BJ, correct_BJ=counted_BJ & is_close_BJ)


def locate_joints(confidence_BJhw: Tensor, searched_BJhw: Tensor) -> Tensor:
    """Maximum of every map among the searched cells, in input pixels (B, J, 2).

    Between the cells it is the top of the parabola through the highest cell and its two neighbours, along x and along
    y; at the edge of the map, the cell's centre. Of equal cells the first in reading order counts.
    """
    maps_BJhw = confidence_BJhw.float()
    height, width = maps_BJhw.shape[-2:]
    cells_BJ = maps_BJhw.masked_fill(~searched_BJhw, -torch.inf).flatten(2).argmax(dim=2)
    rows_BJ, columns_BJ = cells_BJ // width, cells_BJ % width
    flat_BJn = maps_BJhw.flatten(2)
    x_BJ = columns_BJ + _beside_cell(flat_BJn, cells_BJ, 1, (columns_BJ > 0) & (columns_BJ < width - 1))
    y_BJ = rows_BJ + _beside_cell(flat_BJn, cells_BJ, width, (rows_BJ > 0) & (rows_BJ < height - 1))
    return (torch.stack([x_BJ, y_BJ], dim=-1) + 0.5) * POSE_STRIDE - 0.5


def pck_by_joint(correct_J: Tensor, counted_J: Tensor) -> dict[str, float]:
    """Share of correct joints, in 0..1, by the names of those that were counted at all."""
    return {
        joint: correct / counted
        for joint, correct, counted in zip(JOINTS, correct_J.tolist(), counted_J.tolist(), strict=True)
        if counted
    }


def torso_diameters(joints_BJ2: Tensor, labelled_BJ: Tensor) -> Tensor:
    """Input pixels; 0 where neither diagonal is labelled."""
    diagonals_B2: Tensor = torch.linalg.vector_norm(joints_BJ2[:, _SHOULDERS] - joints_BJ2[:, _OPPOSITE_HIPS], dim=-1)
    labelled_B2 = labelled_BJ[:, _SHOULDERS] & labelled_BJ[:, _OPPOSITE_HIPS]
    return diagonals_B2.masked_fill(~labelled_B2, 0).amax(dim=1)


def centres(cells: int, device: torch.device) -> Tensor:
    """Where the cells' centres lie along an axis, input pixels."""
    return (torch.arange(cells, device=device) + 0.5) * POSE_STRIDE - 0.5


def _near_subject(subject_BJ2: Tensor, labelled_BJ: Tensor, reach_B1: Tensor, y_h: Tensor, x_w: Tensor) -> Tensor:
    """bool (B, h, w): cells that touch the box around the labelled joints, widened by `reach_B1` pixels."""
    reach_B1 = reach_B1 + POSE_STRIDE / 2
    low_B2 = subject_BJ2.masked_fill(~labelled_BJ[..., None], torch.inf).amin(dim=1) - reach_B1
    high_B2 = subject_BJ2.masked_fill(~labelled_BJ[..., None], -torch.inf).amax(dim=1) + reach_B1
    columns_Bw = (x_w >= low_B2[:, :1]) & (x_w <= high_B2[:, :1])
    rows_Bh = (y_h >= low_B2[:, 1:]) & (y_h <= high_B2[:, 1:])
    return rows_Bh[:, :, None] & columns_Bw[:, None, :]


def _nearest_to_subject(keypoints_BMJ3: Tensor, y_h: Tensor, x_w: Tensor) -> Tensor:
    """bool (B, J, h, w): cells nearest to the subject's joint of all people's, and the one that holds it."""
    dx_BMJw, dy_BMJh = x_w - keypoints_BMJ3[..., :1], y_h - keypoints_BMJ3[..., 1:2]
    squares_BMJhw = dy_BMJh[..., :, None] ** 2 + dx_BMJw[..., None, :] ** 2
    squares_BMJhw = squares_BMJhw.masked_fill(keypoints_BMJ3[..., 2, None, None] == 0, torch.inf)
    half = POSE_STRIDE / 2
    holds_BJhw = (dy_BMJh[:, 0, :, :, None].abs() <= half) & (dx_BMJw[:, 0, :, None, :].abs() <= half)
    return holds_BJhw | (squares_BMJhw[:, 0] <= squares_BMJhw.amin(dim=1))


def _beside_cell(flat_BJn: Tensor, cells_BJ: Tensor, step: int, has_neighbours_BJ: Tensor) -> Tensor:
    """How far, in cells, the parabola's top lies from the cell's centre along the axis of `step`."""
    steps_3 = torch.tensor([-step, 0, step], device=cells_BJ.device)
    around_BJ3 = flat_BJn.gather(2, (cells_BJ[..., None] + steps_3).clamp(0, flat_BJn.shape[2] - 1))
    before_BJ, at_BJ, after_BJ = around_BJ3.unbind(dim=-1)
    curvature_BJ = before_BJ - 2 * at_BJ + after_BJ
    offset_BJ = (before_BJ - after_BJ) / (2 * curvature_BJ)
    is_top_BJ = has_neighbours_BJ & (curvature_BJ < 0)
    return offset_BJ.masked_fill(~is_top_BJ, 0).clamp(-0.5, 0.5)
