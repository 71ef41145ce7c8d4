"""A mean over some images of a split, evenly spread over it.

Legend: B images.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.data import evenly_spread

MEAN_OVER = 4096
"""Images that a mean is made of, if there are as many."""
_AT_ONCE = 256


def mean_of(values: Callable[[NDArray[np.int64]], Tensor], images: int) -> Tensor:
    """Mean of what a function says of images, (B, …), over evenly spread ones."""
    chosen = evenly_spread(images, MEAN_OVER)
    parts = np.array_split(chosen, -(-len(chosen) // _AT_ONCE))
    return torch.stack([values(part).sum(dim=0) for part in parts]).sum(dim=0) / len(chosen)
