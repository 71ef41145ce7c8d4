"""The trunk: a torchvision classification model without its classifier."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from reid.models.pretrained import load_pretrained, read_weights

_HEADS = ("avgpool", "fc", "classifier")
_FAMILIES = (
    "alexnet", "convnext", "densenet", "efficientnet", "mnasnet", "mobilenet", "regnet", "resnet", "resnext", "vgg",
    "wide_resnet",
)  # fmt: skip


def trunk_names() -> list[str]:
    """Names of the torchvision models that can serve as trunk."""
    import torchvision  # brings Pillow along, which losses and heads do without

    return [name for name in torchvision.models.list_models(module=torchvision.models) if name.startswith(_FAMILIES)]


class Trunk(nn.Sequential):
    """A map from images_BCHW to features; parameters are named as in torchvision.

    Args:
        name: a torchvision classification model.
        weights: `imagenet`, a local file, or none = from scratch.
        last_stride: stride of a ResNet's last stage; 1 doubles the size of its map.

    Raises:
        ValueError: the name is unknown, the stride cannot be had, or the weights do not fit.
    """

    channels: int
    """Channels of the feature map."""

    def __init__(self, name: str, *, weights: str | None = None, last_stride: Literal[1, 2] = 2) -> None:
        if name not in trunk_names():
            raise ValueError(f"invalid trunk '{name}', expected one of {', '.join(trunk_names())}")
        super().__init__(_without_head(name))
        self.channels = self._count_channels()
        if last_stride == 1:
            self._widen(name)
        if weights is not None:
            load_pretrained(self, read_weights(weights, name), weights, ignore=_HEADS)

    def _count_channels(self) -> int:
        probe = torch.zeros(1, 3, 64, 64, device=next(self.parameters()).device)
        self.eval()
        with torch.no_grad():
            channels = int(self(probe).shape[1])
        self.train()
        return channels

    def _widen(self, name: str) -> None:
        if not isinstance(last := getattr(self, "layer4", None), nn.Sequential):
            raise ValueError(f"model.last_stride = 1 is for ResNets: leave it at 2 for the trunk '{name}'")
        for module in last.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)


def _without_head(name: str) -> "OrderedDict[str, nn.Module]":
    import torchvision

    model = torchvision.models.get_model(name, weights=None)
    children = OrderedDict((key, child) for key, child in model.named_children() if key not in _HEADS)
    if name.startswith("densenet"):
        children["relu"] = nn.ReLU()  # applied in its forward(), so no child
    return children
