"""Masked squared error of the pose resolve net (paper, eq. 3 and 4).

Legend: B images of this rank, h × w map cells, C channels of a stream.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reid.losses.ranks import Ranks, global_mean


def masked_squared_error(stages: Sequence[Tensor], target_BChw: Tensor, known_Bhw: Tensor, ranks: Ranks) -> Tensor:
    """Squared error summed over stages and channels, averaged over the known cells of the global batch.

    Eq. 3 and 4 sum over the cells; the mean is the same loss on a scale that depends neither on the size of the images
    nor on how much of them is annotated.

    Args:
        stages: maps_BChw of one stream, one per stage.
        target_BChw: what they should be.
        known_Bhw: W(p), bool: cells that count.
        ranks: the ranks that hold the rest of the batch.
    """
    errors = [torch.where(known_Bhw[:, None], maps_BChw.to(target_BChw.dtype) - target_BChw, 0) for maps_BChw in stages]
    return global_mean(torch.stack([(error**2).sum() for error in errors]).sum(), known_Bhw.sum(), ranks)
