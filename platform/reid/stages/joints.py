"""What the joints of a dataset say its pose maps should be.

Legend: B images, J = 57 pose channels, h × w map cells.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.data import PoseBatches, ReIDBatches
from reid.losses import pose_targets

MEAN_OVER = 4096
"""Images that a mean map is made of, evenly spread over the split, if it has as many."""
_AT_ONCE = 256


def joint_maps(batches: ReIDBatches | PoseBatches, indices: NDArray[np.int64]) -> Tensor:
    """Maps (B, J, h, w) drawn from the joints of images.

    Raises:
        DataError: the dataset has no joints.
    """
    return pose_targets(batches.keypoints(indices), *batches.map_size).channels()


def mean_joint_maps(batches: ReIDBatches | PoseBatches) -> Tensor:
    """The mean map (J, h, w) of a split's images: what one constant map knows of where joints are.

    Raises:
        DataError: the dataset has no joints.
    """
    chosen = np.unique(np.linspace(0, len(batches) - 1, min(len(batches), MEAN_OVER)).round().astype(np.int64))
    parts = np.array_split(chosen, -(-len(chosen) // _AT_ONCE))
    return torch.stack([joint_maps(batches, part).sum(dim=0) for part in parts]).sum(dim=0) / len(chosen)
