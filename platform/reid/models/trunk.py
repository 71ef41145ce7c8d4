"""The trunk: a torchvision classification model without its classifier.

Legend: B images, C channels, H × W input pixels, h × w map cells, P = h · w of them.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.config import ModelConfig
from reid.models.pretrained import load_pretrained, read_weights

_HEADS = ("avgpool", "fc", "classifier", "flatten", "head", "heads")
_FAMILIES = (
    "alexnet", "convnext", "densenet", "efficientnet", "mnasnet", "mobilenet", "regnet", "resnet", "resnext", "swin",
    "vgg", "vit", "wide_resnet",
)  # fmt: skip
_RESNET_STAGES = 4
_PROBE = 64
"""Pixels of the image that a trunk is tried with."""


def trunk_names() -> list[str]:
    """Names of the torchvision models that can serve as trunk."""
    import torchvision  # brings Pillow along, which losses and heads do without

    return [name for name in torchvision.models.list_models(module=torchvision.models) if name.startswith(_FAMILIES)]


def make_trunk(config: ModelConfig, *, pretrained: bool) -> "Trunk":
    """The configured trunk; without `pretrained` its weights are to come from a checkpoint."""
    weights = config.weights if pretrained else None
    return Trunk(config.trunk, weights=weights, stages=config.trunk_stages, last_stride=config.last_stride)


class Trunk(nn.Sequential):
    """A map from images_BCHW to features; parameters are named as in torchvision.

    Args:
        name: a torchvision classification model. Of transformers the map is made of the last layer's tokens, one a
            patch.
        weights: `imagenet`, a local file, or none = from scratch.
        stages: stages of a ResNet that are kept.
        last_stride: stride of the last of them; 1 doubles the size of its map.

    Raises:
        ValueError: the name is unknown, stages or stride cannot be had, or the weights do not fit.
    """

    channels: int
    """Channels of the feature map."""
    class_token: nn.Parameter | None
    """Of a vision transformer."""

    def __init__(
        self, name: str, *, weights: str | None = None, stages: int = _RESNET_STAGES, last_stride: Literal[1, 2] = 2
    ) -> None:
        require_trunk(name)
        children, class_token = _without_head(name)
        super().__init__(children)
        self.class_token = class_token
        if weights is not None:
            load_pretrained(self, read_weights(weights, name), weights, ignore=_HEADS)
        if stages < _RESNET_STAGES:
            self._shorten(name, stages)
        if last_stride == 1:
            self._widen(name, stages)
        (self.channels,) = self._channels_of(lambda images: (self(images),))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Returns features_BChw."""
        if self.class_token is None:
            features_BChw: Tensor = super().forward(images_BCHW)  # type: ignore[no-untyped-call]
            return features_BChw
        conv_proj, encoder = self
        return _encoded(conv_proj(images_BCHW), self.class_token, encoder)

    def stage_maps(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Maps of all stages of a ResNet, the finest first; the last is what `forward` returns."""
        maps = []
        map_BChw = images_BCHW
        for name, child in self.named_children():
            map_BChw = child(map_BChw)
            if name.startswith("layer"):
                maps.append(map_BChw)
        return tuple(maps)

    def stage_channels(self) -> tuple[int, ...]:
        """Channels of what `stage_maps` returns; none where the trunk is no ResNet."""
        return self._channels_of(self.stage_maps) if hasattr(self, "layer1") else ()

    def _channels_of(self, maps_of: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[int, ...]:
        probe = torch.zeros(1, 3, _PROBE, _PROBE, device=next(self.parameters()).device)
        self.eval()
        with torch.no_grad():
            channels = tuple(int(map_1Chw.shape[1]) for map_1Chw in maps_of(probe))
        self.train()
        return channels

    def _shorten(self, name: str, stages: int) -> None:
        if not hasattr(self, f"layer{_RESNET_STAGES}"):
            raise ValueError(f"model.trunk_stages is for ResNets: leave it at {_RESNET_STAGES} for the trunk '{name}'")
        for stage in range(stages + 1, _RESNET_STAGES + 1):
            delattr(self, f"layer{stage}")

    def _widen(self, name: str, stages: int) -> None:
        if not isinstance(last := getattr(self, f"layer{stages}", None), nn.Sequential):
            raise ValueError(f"model.last_stride = 1 is for ResNets: leave it at 2 for the trunk '{name}'")
        for module in last.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)


def require_trunk(name: str) -> None:
    """
    Raises:
        ValueError: there is no such trunk.
    """
    if name not in trunk_names():
        raise ValueError(f"invalid trunk '{name}', expected one of {', '.join(trunk_names())}")


def _encoded(patches_BChw: Tensor, class_token_11C: Tensor, encoder: Any) -> Tensor:
    """What a vision transformer's encoder makes of patches, on any grid: a map of the same grid."""
    size = (patches_BChw.shape[2], patches_BChw.shape[3])
    first_11C, positions_1PC = encoder.pos_embedding.split((1, encoder.pos_embedding.shape[1] - 1), dim=1)
    positioned_BPC = (patches_BChw + _resampled(positions_1PC, size)).flatten(2).mT
    class_B1C = (class_token_11C + first_11C).expand(len(positioned_BPC), -1, -1)
    tokens_BTC = encoder.dropout(torch.cat((class_B1C.to(positioned_BPC.dtype), positioned_BPC), dim=1))
    encoded_BTC: Tensor = encoder.ln(encoder.layers(tokens_BTC))
    return encoded_BTC[:, 1:].mT.reshape(len(encoded_BTC), -1, *size)


def _resampled(positions_1PC: Tensor, size: tuple[int, int]) -> Tensor:
    """Embeddings of a square of positions for a grid of another size, (1, C, h, w)."""
    side = round(positions_1PC.shape[1] ** 0.5)
    square_1Css = positions_1PC.mT.reshape(1, -1, side, side)
    if size == (side, side):
        return square_1Css
    return F.interpolate(square_1Css, size=size, mode="bicubic", antialias=True)


def _without_head(name: str) -> "tuple[OrderedDict[str, nn.Module], nn.Parameter | None]":
    """The layers of a torchvision model, and a vision transformer's class token."""
    import torchvision

    model = torchvision.models.get_model(name, weights=None)
    if name.startswith("vit"):
        return OrderedDict(conv_proj=model.conv_proj, encoder=model.encoder), model.class_token
    children = OrderedDict((key, child) for key, child in model.named_children() if key not in _HEADS)
    if name.startswith("densenet"):
        children["relu"] = nn.ReLU()  # applied in its forward(), so no child
    return children, None
