import itertools
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import vgg

from reid.config import PoseNetConfig
from reid.models import ChannelParseBlock, PoseResolveNet
from reid.models.pose_net import PoseStage

TINY = PoseNetConfig(width=1 / 16)


def _stage(net: PoseResolveNet, number: int) -> PoseStage:
    stage = net.stages[number]
    assert isinstance(stage, PoseStage)
    return stage


def test_the_parse_block_scales_each_channel_by_a_weight_between_0_and_1() -> None:
    torch.manual_seed(0)
    block = ChannelParseBlock(6, reduction=2)
    maps = torch.randn(2, 6, 4, 3)
    ratio = block(maps) / maps
    squeezed = maps.mean(dim=(2, 3))
    first, second = (module for module in block.modules() if isinstance(module, torch.nn.Conv2d))
    assert first.bias is not None
    assert second.bias is not None
    hidden = torch.relu(squeezed @ first.weight[:, :, 0, 0].T + first.bias)
    expected = torch.sigmoid(hidden @ second.weight[:, :, 0, 0].T + second.bias)
    torch.testing.assert_close(ratio, expected[:, :, None, None].expand_as(ratio), rtol=1e-4, atol=1e-5)


def test_a_block_that_starts_open_leaves_maps_as_they_are_and_learns_what_to_leave_out() -> None:
    torch.manual_seed(0)
    block = ChannelParseBlock(6, reduction=2, start_open=True)
    maps = torch.randn(8, 6, 4, 3) + torch.arange(8)[:, None, None, None]
    for size in (0, 1, 1e4):
        gates = block(maps * size + 1) / (maps * size + 1)
        assert gates.min() > 0.95
        assert gates.max() < 1
    wanted = maps.clone()
    wanted[4:, 0] = 0  # what decides is on the map, so more than a bias must be learnt
    before = {name: parameter.clone() for name, parameter in block.named_parameters()}
    optimizer = torch.optim.Adam(block.parameters(), lr=0.05)
    errors = []
    for _ in range(100):
        error = ((block(maps) - wanted) ** 2).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.1 * errors[0]
    assert not any(torch.equal(before[name], parameter) for name, parameter in block.named_parameters())


@pytest.mark.parametrize(("height", "width"), [(64, 32), (40, 24), (8, 8)])
def test_every_stage_gives_maps_at_an_eighth(height: int, width: int) -> None:
    maps = PoseResolveNet(TINY)(torch.randn(2, 3, height, width))
    assert len(maps) == 3
    for stage in maps:
        assert stage.confidence_BJhw.shape == (2, 19, height // 8, width // 8)
        assert stage.affinity_BLhw.shape == (2, 38, height // 8, width // 8)
        assert torch.equal(stage.channels()[:, 19:], stage.affinity_BLhw)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="60 × 32 pixels: make both a multiple of 8"):
        PoseResolveNet(TINY)(torch.randn(1, 3, 60, 32))


def test_later_stages_see_the_former_maps() -> None:
    net = PoseResolveNet(TINY)
    images = torch.randn(1, 3, 32, 16)
    before = net(images)
    maps = _stage(net, 0).affinity[-1]
    assert isinstance(maps, torch.nn.Conv2d)
    assert maps.bias is not None
    with torch.no_grad():
        maps.bias += 1
    after = net(images)
    assert not torch.equal(before[2].confidence_BJhw, after[2].confidence_BJhw)


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("parse_blocks", [True, False])
def test_maps_may_be_kept_in_front_of_the_last_parse_block(stages: int, parse_blocks: bool) -> None:
    torch.manual_seed(0)
    net = PoseResolveNet(TINY.model_copy(update={"stages": stages, "parse_blocks": parse_blocks})).eval()
    images = torch.randn(2, 3, 32, 16)
    kept, finest = net.unparsed(images), net(images)[-1]
    assert kept.shape == (2, 57, 4, 2)
    for parsed in (net.parsed(kept), net.parsed(kept.clone())):
        torch.testing.assert_close(parsed.channels(), finest.channels())
    assert torch.allclose(kept, finest.channels()) == (not parse_blocks)
    if parse_blocks:
        with torch.no_grad():
            for parameter in _stage(net, -1).parse.parameters():
                parameter.add_(1)
        assert torch.equal(net.unparsed(images), kept), "nothing in front of the block has changed"
        assert not torch.allclose(net.parsed(kept).channels(), finest.channels())


def test_without_parse_blocks_there_are_none() -> None:
    net = PoseResolveNet(PoseNetConfig(width=1 / 16, parse_blocks=False))
    assert not any(isinstance(module, ChannelParseBlock) for module in net.modules())
    assert len(net(torch.randn(1, 3, 16, 16))) == 3


def test_layers_at_full_width_are_those_of_openpose() -> None:
    with torch.device("meta"):
        net = PoseResolveNet(PoseNetConfig())

    def convs(module: torch.nn.Module) -> list[tuple[int, int, int]]:
        found = [child for child in module.modules() if isinstance(child, torch.nn.Conv2d)]
        return [(conv.in_channels, conv.out_channels, conv.kernel_size[0]) for conv in found]

    sizes = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 256, 128)
    assert convs(net.front_end) + convs(net.reduce) == [(a, b, 3) for a, b in itertools.pairwise(sizes)]
    assert convs(_stage(net, 0).affinity) == [(128, 128, 3)] * 3 + [(128, 512, 1), (512, 38, 1)]
    assert convs(_stage(net, 1).confidence) == [(185, 128, 7)] + [(128, 128, 7)] * 4 + [(128, 128, 1), (128, 19, 1)]


def test_six_stages_have_as_many_parameters_as_openpose() -> None:
    with torch.device("meta"):
        net = PoseResolveNet(PoseNetConfig(stages=6, parse_blocks=False, norm="none"))
    assert sum(parameter.numel() for parameter in net.parameters()) == 52_311_446


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_signals_survive_the_depth(norm: Literal["batch", "none"]) -> None:
    torch.manual_seed(0)
    net = PoseResolveNet(PoseNetConfig(width=0.25, norm=norm))
    features = net.reduce(net.front_end(torch.randn(2, 3, 64, 32)))
    assert 0.1 < features.std() < 10


def test_the_front_end_takes_vgg_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs["E"])
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    save_file(state, tmp_path / "vgg19.safetensors")
    net = PoseResolveNet(PoseNetConfig(stages=1, weights=str(tmp_path / "vgg19.safetensors")))
    images = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(net.front_end(images), features[:23](images))

    with pytest.raises(ValueError, match="another architecture"):
        PoseResolveNet(TINY.model_copy(update={"weights": str(tmp_path / "vgg19.safetensors")}))
    PoseResolveNet(TINY.model_copy(update={"weights": "missing.pth"}), pretrained=False)
