"""Ground truth of the pose resolve net: what its maps should show, from joints (OpenPose, Cao et al., CVPR 2017).

Legend: B images, M people, J = 18 joints, N = 19 limbs, h × w map cells, 2 = (x, y).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.config import JOINTS, LIMBS
from reid.models import POSE_STRIDE, PoseMaps

SIGMA = 0.875
"""Spread of a joint's peak exp(−d²/σ²) in map cells: OpenPose's 7 pixels. A person fills a 256-pixel crop as it fills
OpenPose's 368-pixel images; in smaller crops the peak stays, since a narrower one would fall between the cells."""
LIMB_WIDTH = 1.0
"""Distance from the line between two joints, in map cells, up to which a limb's field reaches."""

_STARTS = [JOINTS.index(start) for start, _ in LIMBS]
_ENDS = [JOINTS.index(end) for _, end in LIMBS]


def pose_targets(
    keypoints_BMJ3: Tensor, height: int, width: int, *, sigma: float = SIGMA, limb_width: float = LIMB_WIDTH
) -> PoseMaps:
    """Draws all joints and limbs of a batch.

    A confidence map holds, per cell, the highest peak of any person; the background map is one minus the highest of all
    joints. An affinity field holds the limb's unit vector in all cells within `limb_width` of it, averaged over the
    people whose limbs meet there. Joints with visibility 0, and limbs with such an end, are not drawn.

    Args:
        keypoints_BMJ3: (x, y, visibility) in input pixels, pixel centres at whole numbers; M may be 0.
        height: cells h of the maps, 1/8 of the input.
        width: cells w of the maps.
        sigma: spread of a peak in cells.
        limb_width: reach of a limb in cells.
    """
    keypoints_BMJ3 = F.pad(keypoints_BMJ3, (0, 0, 0, 0, 0, 1))  # someone unseen, so that there is always a maximum
    visible_BMJ = keypoints_BMJ3[..., 2] > 0
    joints_BMJ2 = (keypoints_BMJ3[..., :2] + 0.5) / POSE_STRIDE - 0.5
    x_w = torch.arange(width, device=keypoints_BMJ3.device, dtype=keypoints_BMJ3.dtype)
    y_h = torch.arange(height, device=keypoints_BMJ3.device, dtype=keypoints_BMJ3.dtype)
    with torch.autocast(keypoints_BMJ3.device.type, enabled=False):
        return PoseMaps(
            confidence_BJhw=_confidence(joints_BMJ2, visible_BMJ, x_w, y_h, sigma),
            affinity_BLhw=_affinity(joints_BMJ2, visible_BMJ, x_w, y_h, limb_width),
        )


def _confidence(joints_BMJ2: Tensor, visible_BMJ: Tensor, x_w: Tensor, y_h: Tensor, sigma: float) -> Tensor:
    across_BMJw = torch.exp(-(((x_w - joints_BMJ2[..., :1]) / sigma) ** 2))
    down_BMJh = torch.exp(-(((y_h - joints_BMJ2[..., 1:]) / sigma) ** 2)) * visible_BMJ[..., None]
    peaks_BJhw = (down_BMJh[..., :, None] * across_BMJw[..., None, :]).amax(dim=1)
    return torch.cat((peaks_BJhw, 1 - peaks_BJhw.amax(dim=1, keepdim=True)), dim=1)


def _affinity(joints_BMJ2: Tensor, visible_BMJ: Tensor, x_w: Tensor, y_h: Tensor, limb_width: float) -> Tensor:
    starts_BMN2 = joints_BMJ2[:, :, _STARTS]
    limbs_BMN2 = joints_BMJ2[:, :, _ENDS] - starts_BMN2
    lengths_BMN = limbs_BMN2.norm(dim=-1)
    drawn_BMN = visible_BMJ[:, :, _STARTS] & visible_BMJ[:, :, _ENDS] & (lengths_BMN > 0)
    units_BMN2 = F.normalize(limbs_BMN2, dim=-1)
    # Per cell: the way from the limb's start, split into along the limb and off the limb.
    way_x_BMNw = x_w - starts_BMN2[..., :1]
    way_y_BMNh = y_h - starts_BMN2[..., 1:]
    unit_x, unit_y = units_BMN2[..., :1, None], units_BMN2[..., 1:, None]
    along_BMNhw = unit_x * way_x_BMNw[..., None, :] + unit_y * way_y_BMNh[..., :, None]
    off_BMNhw = unit_x * way_y_BMNh[..., :, None] - unit_y * way_x_BMNw[..., None, :]
    beyond_BMNhw = along_BMNhw - along_BMNhw.clamp(min=0).minimum(lengths_BMN[..., None, None])
    near_BMNhw = (off_BMNhw**2 + beyond_BMNhw**2 <= limb_width**2) & drawn_BMN[..., None, None]
    near_BMNhw = near_BMNhw.to(joints_BMJ2.dtype)
    people_BN1hw = near_BMNhw.sum(dim=1)[:, :, None].clamp(min=1)
    fields_BN2hw: Tensor = torch.einsum("bmnhw,bmnc->bnchw", near_BMNhw, units_BMN2) / people_BN1hw
    return fields_BN2hw.flatten(1, 2)
