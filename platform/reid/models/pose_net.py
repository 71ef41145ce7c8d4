# ruff: noqa: N815 - fields carry their shape as a suffix
"""The pose resolve net: where the joints and limbs are, refined over stages.

Legend: B images, C channels, H × W input pixels, h × w = H/8 × W/8 map cells,
        J = 19 confidence channels (18 joints, background), L = 38 affinity channels (x and y of 19 limbs).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid.config import AFFINITY_CHANNELS, CONFIDENCE_CHANNELS, POSE_CHANNELS, PoseNetConfig
from reid.models.openpose import is_openpose, load_openpose
from reid.models.parse_block import ChannelParseBlock
from reid.models.pretrained import Weights, load_pretrained, read_weights

POSE_STRIDE = 8
"""Input pixels per map cell."""

_VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512)
_VGG_BEYOND = tuple(f"features.{index}." for index in range(23, 37))


@dataclass(frozen=True, kw_only=True)
class PoseMaps:
    """What one stage of the pose resolve net sees; joints and limbs in the order of `config.body`."""

    confidence_BJhw: Tensor
    affinity_BLhw: Tensor

    def channels(self) -> Tensor:
        """All 57 channels in the order that `Part.channels` refers to."""
        return torch.cat((self.confidence_BJhw, self.affinity_BLhw), dim=1)


class PoseStage(nn.Module):
    """One two-stream stage and the channel parse block over its outputs."""

    def __init__(self, in_channels: int, width: int, hidden: int, kernels: tuple[int, ...], *, parse: bool) -> None:
        super().__init__()
        self.confidence = _stream(in_channels, width, hidden, kernels, CONFIDENCE_CHANNELS)
        self.affinity = _stream(in_channels, width, hidden, kernels, AFFINITY_CHANNELS)
        self.parse: nn.Module = ChannelParseBlock(POSE_CHANNELS) if parse else nn.Identity()

    def forward(self, features_BChw: Tensor) -> PoseMaps:
        seen = PoseMaps(confidence_BJhw=self.confidence(features_BChw), affinity_BLhw=self.affinity(features_BChw))
        confidence_BJhw, affinity_BLhw = self.parse(seen.channels()).split(
            (CONFIDENCE_CHANNELS, AFFINITY_CHANNELS), dim=1
        )
        return PoseMaps(confidence_BJhw=confidence_BJhw, affinity_BLhw=affinity_BLhw)


class PoseResolveNet(nn.Module):
    """VGG-19's first ten layers, then two-stream stages (paper, section III-A; OpenPose, Cao et al., CVPR 2017).

    Layers, their order and the order of concatenation are those of the OpenPose COCO model, so that its weights
    fit at `width` 1. They carry the whole net but the parse blocks, which are new: until those are trained, a stage
    shows the next one its maps at about half their height.

    Args:
        config: width, number of stages, parse blocks, pre-trained weights of OpenPose or of the front end.
        pretrained: False leaves out `config.weights`, for weights that come from a checkpoint.

    Raises:
        ValueError: the pre-trained weights are missing or do not fit.
    """

    def __init__(self, config: PoseNetConfig, *, pretrained: bool = True) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, round(channels * config.width))

        self.front_end = _front_end([size if isinstance(size, str) else scaled(size) for size in _VGG])
        self.reduce = nn.Sequential(*_conv_relu(scaled(512), scaled(256), 3), *_conv_relu(scaled(256), scaled(128), 3))
        width = scaled(128)
        stages = [PoseStage(width, width, scaled(512), (3, 3, 3), parse=config.parse_blocks)]
        for _ in range(1, config.stages):
            stages.append(PoseStage(width + POSE_CHANNELS, width, width, (7,) * 5, parse=config.parse_blocks))
        self.stages = nn.ModuleList(stages)
        if pretrained and config.weights is not None:
            weights = read_weights(config.weights, "vgg19")
            if is_openpose(weights):
                front_end = nn.Sequential(*self.front_end, *self.reduce)
                streams = [(stage.affinity, stage.confidence) for stage in stages]
                load_openpose(front_end, streams, weights, config.weights)
            else:
                self._load_front_end(weights, config.weights)

    def forward(self, images_BCHW: Tensor) -> tuple[PoseMaps, ...]:
        """Maps of every stage, the finest last.

        Raises:
            ValueError: height or width is no multiple of 8.
        """
        height, width = images_BCHW.shape[-2:]
        if height % POSE_STRIDE or width % POSE_STRIDE:
            raise ValueError(f"images of {height} × {width} pixels: make both a multiple of {POSE_STRIDE}")
        features_BChw = self.reduce(self.front_end(images_BCHW))
        maps: list[PoseMaps] = []
        for stage in self.stages:
            former = (maps[-1].affinity_BLhw, maps[-1].confidence_BJhw) if maps else ()
            maps.append(stage(torch.cat((*former, features_BChw), dim=1)))
        return tuple(maps)

    def _load_front_end(self, weights: Weights, source: str) -> None:
        beyond = ("classifier.", *_VGG_BEYOND)
        named = {
            name.removeprefix("features."): tensor for name, tensor in weights.items() if not name.startswith(beyond)
        }
        load_pretrained(self.front_end, named, source, ignore=())


def _front_end(sizes: list[int | str]) -> nn.Sequential:
    """Layers numbered as in torchvision's `vgg19().features`."""
    layers: list[nn.Module] = []
    channels = 3
    for size in sizes:
        if isinstance(size, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += _conv_relu(channels, size, 3)
            channels = size
    return nn.Sequential(*layers)


def _conv_relu(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    """He initialisation: signals must survive two dozen layers without normalisation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return [conv, nn.ReLU(inplace=True)]


def _stream(in_channels: int, width: int, hidden: int, kernels: tuple[int, ...], out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, kernel in enumerate(kernels):
        layers += _conv_relu(width if index else in_channels, width, kernel)
    maps = nn.Conv2d(hidden, out_channels, 1)
    nn.init.normal_(maps.weight, std=0.01)  # near zero, as most of their targets
    return nn.Sequential(*layers, *_conv_relu(width, hidden, 1), maps)
