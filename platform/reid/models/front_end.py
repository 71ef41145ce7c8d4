"""Front ends of the pose resolve net: from images to features at an eighth of their size.

Legend: B images, C channels, H × W input pixels, h × w = H/8 × W/8 map cells.
"""

from collections.abc import Callable
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

_VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512)


def vgg_front_end(scaled: Callable[[int], int], *, norm: bool) -> nn.Sequential:
    """VGG-19's first ten layers; without normalisation numbered as in torchvision's `vgg19().features`.

    Args:
        scaled: from the paper's number of channels to ours.
        norm: batch normalisation after every convolution.
    """
    layers: list[nn.Module] = []
    channels = 3
    for size in _VGG:
        if isinstance(size, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += conv_relu(channels, scaled(size), 3, norm=norm)
            channels = scaled(size)
    return nn.Sequential(*layers)


class Pyramid(nn.Module):
    """Residual blocks down to a 32nd of the image, and back up to an eighth (Lin et al., "Feature Pyramid Networks for
    Object Detection", CVPR 2017): it sees most of a person, and few of its layers are at full resolution.

    Args:
        width: channels at an eighth; finer cells have fewer, coarser ones more.
        norm: batch normalisation after every convolution but the lateral ones.
    """

    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        sizes = [max(1, width // 4), max(1, width // 2), width, 2 * width, 3 * width]
        self.stem = nn.Sequential(*conv_relu(3, sizes[0], 5, stride=2, norm=norm))
        self.down = nn.ModuleList(_Residual(finer, coarser, norm=norm) for finer, coarser in pairwise(sizes))
        self.lateral = nn.ModuleList(nn.Conv2d(size, width, 1) for size in sizes[2:])
        self.smooth = nn.ModuleList(nn.Sequential(*conv_relu(width, width, 3, norm=norm)) for _ in range(2))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns features_BChw of `width` channels."""
        maps = [self.stem(images_BCHW)]
        for block in self.down:
            maps.append(block(maps[-1]))
        *finer, top = [lateral(features) for lateral, features in zip(self.lateral, maps[2:], strict=True)]
        for features, smooth in zip(reversed(finer), self.smooth, strict=True):
            top = smooth(features + F.interpolate(top, size=features.shape[-2:]))
        features_BChw: Tensor = top
        return features_BChw


class _Residual(nn.Module):
    """A basic block of half the resolution (He et al., CVPR 2016)."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *conv_relu(in_channels, out_channels, 3, stride=2, norm=norm),
            *conv_relu(out_channels, out_channels, 3, norm=norm)[:-1],
        )
        self.shortcut = nn.Sequential(*conv_relu(in_channels, out_channels, 1, stride=2, norm=norm)[:-1])

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return F.relu(self.convs(features_BCHW) + self.shortcut(features_BCHW))


def conv_relu(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, norm: bool) -> list[nn.Module]:
    """Convolution, batch normalisation if asked for, ReLU.

    He initialisation: without normalisation, signals must survive two dozen layers.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=not norm)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if norm:
        return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return [conv, nn.ReLU(inplace=True)]
