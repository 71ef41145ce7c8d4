# ruff: noqa: N815 - fields carry their shape as a suffix
"""The pose resolve net: where the joints and limbs are, refined over stages.

Legend: B images, C channels, H × W input pixels, h × w = H/8 × W/8 map cells,
        J = 19 confidence channels (18 joints, background), L = 38 affinity channels (x and y of 19 limbs).
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from reid.config import AFFINITY_CHANNELS, CONFIDENCE_CHANNELS, POSE_CHANNELS, PoseNetConfig
from reid.models.front_end import Pyramid, conv_relu, vgg_front_end
from reid.models.openpose import is_openpose, load_openpose
from reid.models.parse_block import ChannelParseBlock
from reid.models.precision import at_least_fp32
from reid.models.pretrained import Weights, load_pretrained, read_weights

POSE_STRIDE = 8
"""Input pixels per map cell."""

_VGG_BEYOND = tuple(f"features.{index}." for index in range(23, 37))


@dataclass(frozen=True, kw_only=True)
class PoseMaps:
    """What one stage of the pose resolve net sees; joints and limbs in the order of `config.body`."""

    confidence_BJhw: Tensor
    affinity_BLhw: Tensor

    @classmethod
    def of(cls, channels_BJhw: Tensor) -> Self:
        """From all 57 channels."""
        return cls(
            confidence_BJhw=channels_BJhw[:, :CONFIDENCE_CHANNELS], affinity_BLhw=channels_BJhw[:, CONFIDENCE_CHANNELS:]
        )

    def channels(self) -> Tensor:
        """All 57 channels in the order that `Part.channels` refers to."""
        return torch.cat((self.confidence_BJhw, self.affinity_BLhw), dim=1)


class PoseStage(nn.Module):
    """One two-stream stage and the channel parse block over its outputs."""

    def __init__(
        self, in_channels: int, width: int, hidden: int, kernels: tuple[int, ...], *, norm: bool, parse: nn.Module
    ) -> None:
        super().__init__()
        self.confidence = _stream(in_channels, width, hidden, kernels, CONFIDENCE_CHANNELS, norm=norm)
        self.affinity = _stream(in_channels, width, hidden, kernels, AFFINITY_CHANNELS, norm=norm)
        self.parse = parse

    def forward(self, features_BChw: Tensor) -> PoseMaps:
        return self.parsed(self.unparsed(features_BChw))

    def unparsed(self, features_BChw: Tensor) -> Tensor:
        """What the two streams see, maps_BJhw of all 57 channels."""
        return torch.cat((self.confidence(features_BChw), self.affinity(features_BChw)), dim=1)

    def parsed(self, maps_BJhw: Tensor) -> PoseMaps:
        """The maps behind the parse block, in fp32 at least, so that maps which were kept give what fresh ones do."""
        with torch.autocast(maps_BJhw.device.type, enabled=False):
            return PoseMaps.of(self.parse(at_least_fp32(maps_BJhw)))


class PoseResolveNet(nn.Module):
    """A front end, then two-stream stages (paper, section III-A; OpenPose, Cao et al., CVPR 2017).

    With the front end `vgg`, VGG-19's first ten layers, the layers, their order and the order of concatenation are
    those of the OpenPose COCO model, so that its weights fit at `width` 1. They carry the whole net but the parse
    blocks, which then start open: a stage shows the next one its maps at their height.

    Args:
        config: front end, width, number of stages, normalisation, parse blocks, pre-trained weights of OpenPose or of
            the front end.
        pretrained: False leaves out `config.weights`, for weights that come from a checkpoint.

    Raises:
        ValueError: the pre-trained weights are missing or do not fit.
    """

    def __init__(self, config: PoseNetConfig, *, pretrained: bool = True) -> None:
        super().__init__()
        norm = config.normalised

        def scaled(channels: int) -> int:
            return max(1, round(channels * config.width))

        def parse() -> nn.Module:
            if not config.parse_blocks:
                return nn.Identity()
            return ChannelParseBlock(POSE_CHANNELS, start_open=config.weights is not None)

        width = scaled(128)
        if config.front_end == "vgg":
            self.front_end: nn.Module = vgg_front_end(scaled, norm=norm)
            self.reduce: nn.Module = nn.Sequential(
                *conv_relu(scaled(512), scaled(256), 3, norm=norm), *conv_relu(scaled(256), width, 3, norm=norm)
            )
        else:
            self.front_end, self.reduce = Pyramid(width, norm=norm), nn.Identity()
        stages = [PoseStage(width, width, scaled(512), (3, 3, 3), norm=norm, parse=parse())]
        for _ in range(1, config.stages):
            stages.append(PoseStage(width + POSE_CHANNELS, width, width, (7,) * 5, norm=norm, parse=parse()))
        self.stages = nn.ModuleList(stages)
        if pretrained and config.weights is not None:
            weights = read_weights(config.weights, "vgg19")
            if is_openpose(weights):
                front_end = nn.Sequential(*self.front_end.children(), *self.reduce.children())
                streams = [(stage.affinity, stage.confidence) for stage in stages]
                load_openpose(front_end, streams, weights, config.weights)
            else:
                self._load_front_end(weights, config.weights)

    def forward(self, images_BCHW: Tensor) -> tuple[PoseMaps, ...]:
        """Maps of every stage, the finest last.

        Raises:
            ValueError: height or width is no multiple of 8.
        """
        former, unparsed_BJhw = self._run(images_BCHW)
        return *former, self.parsed(unparsed_BJhw)

    def unparsed(self, images_BCHW: Tensor) -> Tensor:
        """Maps of the last stage before its parse block, maps_BJhw: `parsed` makes the finest maps of them.

        Raises:
            ValueError: as `forward`.
        """
        return self._run(images_BCHW)[1]

    def parsed(self, unparsed_BJhw: Tensor) -> PoseMaps:
        """The finest maps, of what `unparsed` returns."""
        last = self.stages[-1]
        assert isinstance(last, PoseStage)
        return last.parsed(unparsed_BJhw)

    def _run(self, images_BCHW: Tensor) -> tuple[list[PoseMaps], Tensor]:
        """Maps of all stages but the last, and the last one's before its parse block."""
        height, width = images_BCHW.shape[-2:]
        if height % POSE_STRIDE or width % POSE_STRIDE:
            raise ValueError(f"images of {height} × {width} pixels: make both a multiple of {POSE_STRIDE}")
        seen_BChw = features_BChw = self.reduce(self.front_end(images_BCHW))
        maps: list[PoseMaps] = []
        for stage in list(self.stages)[:-1]:
            maps.append(stage(seen_BChw))
            seen_BChw = torch.cat((maps[-1].affinity_BLhw, maps[-1].confidence_BJhw, features_BChw), dim=1)
        last = self.stages[-1]
        assert isinstance(last, PoseStage)
        return maps, last.unparsed(seen_BChw)

    def _load_front_end(self, weights: Weights, source: str) -> None:
        beyond = ("classifier.", *_VGG_BEYOND)
        named = {
            name.removeprefix("features."): tensor for name, tensor in weights.items() if not name.startswith(beyond)
        }
        load_pretrained(self.front_end, named, source, ignore=())


def _stream(
    in_channels: int, width: int, hidden: int, kernels: tuple[int, ...], out_channels: int, *, norm: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, kernel in enumerate(kernels):
        layers += conv_relu(width if index else in_channels, width, kernel, norm=norm)
    maps = nn.Conv2d(hidden, out_channels, 1)
    nn.init.normal_(maps.weight, std=0.01)  # near zero, as most of their targets
    return nn.Sequential(*layers, *conv_relu(width, hidden, 1, norm=norm), maps)
