"""SAN's decoder: from the maps of a ResNet's four stages to a person's texture.

Legend: B images, H × W input pixels with H = 2 W, S = H texels a side, C channels; of a map h × w cells.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

XAVIER_GAIN = 0.02
"""Of all convolutions; batch norms begin with weights of mean 1 and this deviation."""


class TextureDecoder(nn.Module):
    """Regresses the texture, a person's whole clothing unrolled into a fixed layout, in the authors' architecture.

    Jin et al., "Semantics-Aligned Representation Learning for Person Re-identification", AAAI 2020; sizes from their
    code, with whose widths it has 9,071,075 parameters behind a ResNet-50. All weights are drawn from torch's global
    random state.

    Args:
        channels: of the maps of the four stages, the finest first.
        widths: of the maps within, the coarsest first.
        skips: whether it sees the first three stages; without, the last alone.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int], *, skips: bool) -> None:
        super().__init__()
        first, second, third, last = channels
        self.project = _projection(last, widths[0])
        self.skips = nn.ModuleList(
            _projection(own, width) for own, width in zip((third, second, first), widths[:3], strict=True)
        )
        if not skips:
            self.skips = nn.ModuleList()
        self.up = nn.ModuleList(_Up(width, narrower) for width, narrower in pairwise(widths))
        self.texture = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(widths[-1], 3, kernel_size=7))
        self.apply(_initialise)

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """From the maps of the four stages to texture_B3SS, and the maps of the four `up` blocks, coarsest first.

        The texture is meant to lie within [-1, 1]; nothing holds it there.
        """
        map_BChw = self.project(stages[-1])
        decoded = []
        for level, up in enumerate(self.up):
            if level < len(self.skips):
                map_BChw = map_BChw + self.skips[level](stages[-2 - level])
            map_BChw = up(map_BChw)
            decoded.append(map_BChw)
        texture_B3HW = self.texture(map_BChw)
        side = texture_B3HW.shape[2]
        texture_B3SS = F.interpolate(texture_B3HW, size=(side, side), mode="bilinear", align_corners=True)
        return texture_B3SS, tuple(decoded)


class _Up(nn.Module):
    """A residual block, then twice the cells and fewer channels."""

    def __init__(self, width: int, narrower: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.narrow = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, narrower, kernel_size=3))

    def forward(self, map_BChw: Tensor) -> Tensor:
        map_BChw = F.relu(map_BChw + self.residual(map_BChw))
        return cast(Tensor, self.narrow(F.interpolate(map_BChw, scale_factor=2, mode="bilinear")))


def _projection(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel_size=1), nn.BatchNorm2d(width), nn.ReLU())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_normal_(module.weight, gain=XAVIER_GAIN)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, XAVIER_GAIN)
