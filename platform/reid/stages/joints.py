"""What the joints of a dataset say its pose maps should be.

Legend: B images, J = 57 pose channels, h × w map cells.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reid.data import PoseBatches, ReIDBatches
from reid.losses import pose_targets
from reid.stages.spread import mean_of


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
    return mean_of(partial(joint_maps, batches), len(batches))
