"""The front ends, within the pose resolve net that they belong to."""

from itertools import zip_longest

import pytest
import torch
from torch import Tensor, nn

from reid.config import PoseNetConfig
from reid.models import PoseResolveNet
from reid.models.front_end import Pyramid

MAPS = 57


def _pyramid(**changes: object) -> PoseResolveNet:
    torch.manual_seed(0)
    return PoseResolveNet(PoseNetConfig.model_validate({"front_end": "pyramid", "width": 1 / 8, **changes}))


def _chained(net: nn.Module) -> list[tuple[nn.Conv2d, nn.Module | None]]:
    """Every convolution of a chain of layers, and the layer behind it."""
    chains = [list(module) for module in net.modules() if isinstance(module, nn.Sequential)]
    return [
        (layer, after)
        for chain in chains
        for layer, after in zip_longest(chain, chain[1:])
        if isinstance(layer, nn.Conv2d)
    ]


@pytest.mark.parametrize("front_end", ["vgg", "pyramid"])
@pytest.mark.parametrize(("norm", "normalised"), [("auto", True), ("batch", True), ("none", False)])
def test_every_convolution_but_the_maps_is_normalised_or_none_is(front_end: str, norm: str, normalised: bool) -> None:
    config = {"front_end": front_end, "width": 1 / 16, "stages": 2, "norm": norm, "parse_blocks": False}
    net = PoseResolveNet(PoseNetConfig.model_validate(config))
    chained = _chained(net)
    maps = [conv for conv, after in chained if after is None and conv.out_channels in (19, 38)]
    assert len(maps) == 4
    assert all(conv.bias is not None for conv in maps)
    for conv, after in chained:
        if conv not in maps:
            assert isinstance(after, nn.BatchNorm2d) == normalised
            assert (conv.bias is None) == normalised, "the normalisation has a bias of its own"
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == normalised


def test_pre_trained_weights_are_not_normalised_of_themselves() -> None:
    net = PoseResolveNet(PoseNetConfig(width=1 / 16, weights="vgg19.pth"), pretrained=False)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize(
    ("change", "what"), [({"front_end": "pyramid"}, "front_end: pyramid"), ({"norm": "batch"}, "norm: batch")]
)
def test_what_has_no_pre_trained_weights_is_refused_with_them(change: dict[str, str], what: str) -> None:
    with pytest.raises(ValueError, match=f"{what} has no pre-trained weights: set weights to none, or leave this out"):
        PoseNetConfig.model_validate({"weights": "imagenet", **change})
    PoseNetConfig.model_validate(change)


@pytest.mark.parametrize(("height", "width"), [(128, 64), (64, 32), (40, 24), (8, 8)])
def test_the_pyramid_gives_features_at_an_eighth(height: int, width: int) -> None:
    features_BChw = Pyramid(12, norm=True)(torch.randn(2, 3, height, width))
    assert features_BChw.shape == (2, 12, height // 8, width // 8)
    for stage in _pyramid()(torch.randn(2, 3, height, width)):
        assert stage.channels().shape == (2, MAPS, height // 8, width // 8)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_parameter_of_the_pyramid_is_trained(norm: str) -> None:
    net = _pyramid(norm=norm)
    maps_BJhw = net(torch.randn(4, 3, 64, 32))[-1].channels()
    (maps_BJhw * torch.randn_like(maps_BJhw)).sum().backward()
    for name, parameter in net.front_end.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def _reach(net: PoseResolveNet) -> Tensor:
    """Pixels of a 128 × 64 image that the last cell of the maps depends on."""
    net = net.double().eval()
    images_BCHW = torch.randn(1, 3, 128, 64, dtype=torch.float64, requires_grad=True)
    last_BJ = net(images_BCHW)[-1].channels()[:, :, -1, -1]
    (gradient_BCHW,) = torch.autograd.grad((last_BJ * torch.randn_like(last_BJ)).sum(), images_BCHW)
    return gradient_BCHW[0].abs().amax(dim=0) > 0


def test_the_pyramid_sees_the_whole_image() -> None:
    """VGG's ten layers and one stage do not."""
    changes = {"stages": 1, "parse_blocks": False}
    seen = _reach(_pyramid(**changes))
    assert seen[:8, :8].all(), "the first cell's pixels"
    assert seen.double().mean() > 0.99
    assert not _reach(PoseResolveNet(PoseNetConfig.model_validate({"width": 1 / 8, **changes})))[:8].any()


def test_coarse_features_come_back_to_where_they_were_seen() -> None:
    """A spot moved by whole cells of the coarsest map moves the features by as much, within the border."""
    torch.manual_seed(0)
    pyramid = Pyramid(8, norm=False).double()
    images_BCHW = torch.zeros(2, 3, 512, 512, dtype=torch.float64)
    images_BCHW[0, :, 240:256, 240:256] = 1
    images_BCHW[1, :, 272:288, 208:224] = 1
    first_Chw, second_Chw = pyramid(images_BCHW)
    away = first_Chw[:, 16:48, 16:48]
    assert away.std() > 0
    torch.testing.assert_close(second_Chw[:, 20:52, 12:44], away)
