"""Weights of the OpenPose COCO body model (Cao et al., CVPR 2017), as its PyTorch conversions publish them.

Its 92 convolutions go by either of two kinds of names, behind any prefix:

- by layer, as in Caffe: `conv1_1`, `conv4_3_CPM`, `conv5_1_CPM_L1`, `Mconv1_stage2_L1`;
- by position: `model0.0`, `model1_1.0`, `model2_1.0` for the first layer of front end, first and second stage.

In both, stream 1 finds the affinity fields and stream 2 the confidence maps, background last.
"""

import re
from collections.abc import Sequence

import torch
from torch import nn

from reid.models.pretrained import IMAGENET_MEAN, IMAGENET_STD, Weights, load_pretrained

STAGES = 6
"""Of the published model."""

_BY_LAYER = re.compile(r"(?:.+\.)?(M?conv\d_\w+\.\w+)")
_BY_POSITION = re.compile(r"(?:.+\.)?(model\d(?:_\d)?\.\d+\.\w+)")
_FRONT_END = (
    "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4", "conv4_1", "conv4_2",
    "conv4_3_CPM", "conv4_4_CPM",
)  # fmt: skip

Streams = tuple[nn.Sequential, nn.Sequential]
"""Of one stage: affinity fields, confidence maps."""


def is_openpose(weights: Weights) -> bool:
    """Whether tensors are named as OpenPose's, in either way."""
    return any(_BY_LAYER.fullmatch(name) or _BY_POSITION.fullmatch(name) for name in weights)


def load_openpose(front_end: nn.Sequential, stages: Sequence[Streams], weights: Weights, source: str) -> None:
    """Copies the weights of the front end and of as many stages as are given.

    OpenPose sees BGR / 256 - 0.5, we see RGB normalised by ImageNet's statistics: the first convolution takes up the
    difference. Its outputs are the same but for those at the border, where the zeros of its padding now stand for
    ImageNet's mean colour and not for the grey 128.

    Args:
        front_end: its layers, of which the first is a convolution.
        stages: the first one to six.
        weights: tensors by published name.
        source: where they are from, for messages.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    by_layer = any(_BY_LAYER.fullmatch(name) for name in weights)
    pattern = _BY_LAYER if by_layer else _BY_POSITION
    published = {match[1] if (match := pattern.fullmatch(name)) else name: weights[name] for name in weights}
    layers = (_by_layer if by_layer else _by_position)(front_end, stages)
    unused = range(len(stages) + 1, STAGES + 1)
    ignore = (
        *(f"Mconv{layer}_stage{stage}_" for stage in unused for layer in range(1, 8)),
        *(f"model{stage}_" for stage in unused),
    )
    load_pretrained(layers, published, source, ignore)
    first = front_end[0]
    assert isinstance(first, nn.Conv2d)
    _take_normalised_rgb(first)


def _by_layer(front_end: nn.Sequential, stages: Sequence[Streams]) -> nn.ModuleDict:
    layers: dict[str, nn.Module] = dict(zip(_FRONT_END, _convolutions(front_end), strict=True))
    for stage, streams in enumerate(stages, start=1):
        name = "conv5_{}_CPM_L{}" if stage == 1 else f"Mconv{{}}_stage{stage}_L{{}}"
        for stream, modules in enumerate(streams, start=1):
            for layer, convolution in enumerate(_convolutions(modules), start=1):
                layers[name.format(layer, stream)] = convolution
    return nn.ModuleDict(layers)


def _by_position(front_end: nn.Sequential, stages: Sequence[Streams]) -> nn.ModuleDict:
    streams = {
        f"model{stage}_{stream}": modules
        for stage, both in enumerate(stages, start=1)
        for stream, modules in enumerate(both, start=1)
    }
    return nn.ModuleDict({"model0": front_end, **streams})


def _convolutions(modules: nn.Sequential) -> list[nn.Module]:
    return [module for module in modules if isinstance(module, nn.Conv2d)]


@torch.no_grad()
def _take_normalised_rgb(convolution: nn.Conv2d) -> None:
    """From weights for BGR / 256 - 0.5: with z = (x - mean) / std, x · 255 / 256 - 0.5 is linear in z."""
    weight = convolution.weight.flip(1)
    mean, std = weight.new_tensor(IMAGENET_MEAN), weight.new_tensor(IMAGENET_STD)
    bias = convolution.bias
    assert bias is not None
    bias += weight.sum(dim=(2, 3)) @ (mean * 255 / 256 - 0.5)
    convolution.weight.copy_(weight * (std * 255 / 256)[:, None, None])
