"""Where autocast must not reach."""

import torch
from torch import Tensor


def at_least_fp32(x: Tensor) -> Tensor:
    """`x` in fp32, or as it is where it is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
