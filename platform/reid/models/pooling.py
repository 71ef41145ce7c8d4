"""Compact bilinear pooling of two maps by tensor sketch.

Legend: B images, C channels of the first map, J of the second, H × W and h × w their grids, D length of the sketch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.models.precision import at_least_fp32

STEEPEST = 0.1
"""Entry of the sketch, over the mean size of its row, at which the signed square root is steepest."""
SMALLEST = 1e-12
"""The same for an empty sketch, whose mean size is zero."""


def align(map_BJhw: Tensor, height: int, width: int) -> Tensor:
    """Resamples a map to a grid of `height` × `width`: bilinear, averaging where the new grid is coarser."""
    if map_BJhw.shape[-2:] == (height, width):
        return map_BJhw
    if torch.compiler.is_exporting():  # ONNX Runtime resizes otherwise where a border lies within the filter's reach
        return align_by_products(map_BJhw, height, width)
    return F.interpolate(map_BJhw, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def align_by_products(map_BJhw: Tensor, height: int, width: int) -> Tensor:
    """`align` as two matrix products, which every runtime computes alike."""
    rows_Hh = _resampling(map_BJhw.shape[-2], height, map_BJhw)
    columns_Ww = _resampling(map_BJhw.shape[-1], width, map_BJhw)
    return rows_Hh @ map_BJhw @ columns_Ww.T


def _resampling(size: int, new_size: int, like: Tensor) -> Tensor:
    """Weights (new_size × size) of every old cell in every new one: a triangle over two cells of the coarser grid."""
    cell = size / new_size
    centres = (torch.arange(new_size, dtype=like.dtype, device=like.device) + 0.5) * cell
    distances = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5 - centres[:, None]).abs()
    weights = (1 - distances / max(cell, 1.0)).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def bilinear_product(map_BCHW: Tensor, map_BJhw: Tensor) -> Tensor:
    """Outer product of the two maps' channels, summed over the positions of the first map's grid.

    Returns:
        product_BCJ, in fp32 at least, under autocast too.
    """
    with torch.autocast(map_BCHW.device.type, enabled=False):
        first_BCP = at_least_fp32(map_BCHW).flatten(2)
        second_BJP = align(at_least_fp32(map_BJhw), *map_BCHW.shape[-2:]).flatten(2)
        return first_BCP @ second_BJP.mT


class _SignedSqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BD: Tensor) -> Tensor:
        ctx.save_for_backward(x_BD)
        return x_BD.sign() * x_BD.abs().sqrt()

    @staticmethod
    def backward(ctx: Any, gradient_BD: Tensor) -> Tensor:
        (x_BD,) = ctx.saved_tensors
        size_BD = x_BD.abs()
        least_B1 = STEEPEST * size_BD.mean(dim=1, keepdim=True)
        return 0.5 * gradient_BD * torch.maximum(size_BD, least_B1).clamp(min=SMALLEST).rsqrt()


def signed_sqrt(x_BD: Tensor) -> Tensor:
    """sign(x)·√|x|, whose slope is bounded.

    The true slope is infinite at zero: entries that rounding alone moves across zero would fill the gradient with
    noise, and two ways to sum the same batch would soon train different weights. Entries below `STEEPEST` of their
    row's mean size get the slope at that size.
    """
    rooted_BD: Tensor = _SignedSqrt.apply(x_BD)
    return rooted_BD


class CompactBilinearPooling(nn.Module):
    """Fuses two maps into one unit vector of fixed length.

    Tensor sketch (Pham and Pagh, KDD 2013; Gao et al., "Compact Bilinear Pooling", CVPR 2016) approximates the outer
    product of two channel vectors in D numbers. Its usual form convolves two count sketches by FFT at every position.
    Since the sketch is linear and pooling sums over positions, the same vector is found by summing the exact C × J
    product over positions first and adding each entry, once, to bin (h₁ + h₂) mod D with sign s₁·s₂.
    Signed square root and L2 normalisation follow.

    Args:
        channels_a: channels C of the first map.
        channels_b: channels J of the second map.
        sketch_dim: length D of the sketch.
        seed: seed of the hashes, which are fixed and part of the state.
    """

    def __init__(self, channels_a: int, channels_b: int, sketch_dim: int, seed: int = 0) -> None:
        super().__init__()
        self.sketch_dim = sketch_dim
        generator = torch.Generator().manual_seed(seed)
        for name, channels in (("a", channels_a), ("b", channels_b)):
            bins = torch.randint(sketch_dim, (channels,), generator=generator, device="cpu")
            signs = torch.randint(2, (channels,), generator=generator, device="cpu") * 2 - 1
            self.register_buffer(f"bins_{name}", bins)
            self.register_buffer(f"signs_{name}", signs)

    bins_a: Tensor
    bins_b: Tensor
    signs_a: Tensor
    signs_b: Tensor

    def forward(self, map_BCHW: Tensor, map_BJhw: Tensor) -> Tensor:
        """Pools the two maps, the second resampled to the first's grid.

        Returns:
            fused_BD of unit length, in fp32 at least.
        """
        return self.fuse(bilinear_product(map_BCHW, map_BJhw))

    def fuse(self, product_BCJ: Tensor) -> Tensor:
        """The unit vector for an outer product already summed over positions."""
        return F.normalize(signed_sqrt(self.sketch(product_BCJ)), dim=1)

    def sketch(self, product_BCJ: Tensor) -> Tensor:
        """The tensor sketch itself, before square root and normalisation: sketch_BD."""
        bins_CJ = (self.bins_a[:, None] + self.bins_b) % self.sketch_dim
        signed_BCJ = product_BCJ * (self.signs_a[:, None] * self.signs_b).to(product_BCJ.dtype)
        batch = product_BCJ.shape[0]
        empty_BD = signed_BCJ.new_zeros(batch, self.sketch_dim)
        return empty_BD.scatter_add(1, bins_CJ.flatten().expand(batch, -1), signed_BCJ.flatten(1))
