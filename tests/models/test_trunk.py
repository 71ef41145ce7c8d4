import pickle
import urllib.error
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from reid.models.pretrained import read_weights
from reid.models.trunk import Trunk, trunk_names


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", 512), ("mobilenet_v3_small", 576), ("efficientnet_b0", 1280), ("regnet_y_400mf", 440),
     ("densenet121", 1024)],
)  # fmt: skip
def test_trunks_by_name(name: str, channels: int) -> None:
    trunk = Trunk(name)
    assert trunk.channels == channels
    assert all(module.training for module in trunk.modules())
    assert trunk.eval()(torch.randn(1, 3, 64, 32)).shape == (1, channels, 2, 1)


@pytest.mark.parametrize("name", ["resnet19", "maxvit_t", "fcn_resnet50"])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=f"invalid trunk '{name}', expected one of .*resnet50"):
        Trunk(name)


def test_a_trunk_is_its_model_without_the_head() -> None:
    torch.manual_seed(0)
    trunk = Trunk("resnet18").eval()
    model = torchvision.models.resnet18().eval()
    missing, surplus = model.load_state_dict(trunk.state_dict(), strict=False)
    assert (set(missing), surplus) == ({"fc.weight", "fc.bias"}, [])
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(model.fc(trunk(images).mean(dim=(2, 3))), model(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_last_stride_1_doubles_the_map(name: str) -> None:
    with torch.device("meta"):
        trunk = Trunk(name, last_stride=1).eval()
        assert trunk(torch.zeros(1, 3, 64, 32)).shape == (1, trunk.channels, 4, 2)


@pytest.mark.parametrize(("name", "strided"), [("resnet18", "conv1"), ("resnet50", "conv2")])
def test_a_short_trunk_ends_with_a_finer_map(name: str, strided: str) -> None:
    torch.manual_seed(0)
    trunk = Trunk(name, stages=3, last_stride=1).eval()
    model = torchvision.models.get_model(name).eval()
    missing, surplus = model.load_state_dict(trunk.state_dict(), strict=False)
    assert {entry.split(".")[0] for entry in missing} == {"layer4", "fc"}
    assert not surplus
    first = model.layer3[0]
    getattr(first, strided).stride = first.downsample[0].stride = (1, 1)
    images = torch.randn(2, 3, 64, 32)
    expected = images
    for layer in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
        expected = getattr(model, layer)(expected)
    assert expected.shape == (2, trunk.channels, 8, 4)
    torch.testing.assert_close(trunk(images), expected)


@pytest.mark.parametrize(("stages", "stride", "cells"), [(1, 1, 16), (2, 2, 8), (2, 1, 16), (3, 2, 4), (4, 1, 4)])
def test_a_trunk_has_the_stages_asked_for(stages: int, stride: Literal[1, 2], cells: int) -> None:
    trunk = Trunk("resnet18", stages=stages, last_stride=stride)
    assert [name for name, _ in trunk.named_children() if name.startswith("layer")] == [
        f"layer{stage}" for stage in range(1, stages + 1)
    ]
    assert trunk(torch.zeros(2, 3, 64, 32)).shape == (2, trunk.channels, cells, cells // 2)
    assert trunk.channels == 64 * 2 ** (stages - 1)


@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121"])
def test_stages_and_strides_are_for_resnets(name: str) -> None:
    with pytest.raises(ValueError, match=f"last_stride = 1 is for ResNets: leave it at 2 for the trunk '{name}'"):
        Trunk(name, last_stride=1)
    with pytest.raises(ValueError, match=f"trunk_stages is for ResNets: leave it at 4 for the trunk '{name}'"):
        Trunk(name, stages=3)


def test_all_names_are_classification_models() -> None:
    assert {"resnet50", "convnext_tiny", "vgg19"} <= set(trunk_names()) <= set(torchvision.models.list_models())


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(torchvision.models.resnet18().state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, resnet18: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(resnet18, path) if suffix == ".pth" else save_file(resnet18, path)
    for stages in (4, 2):
        trunk = Trunk("resnet18", weights=str(path), stages=stages)
        assert all(torch.equal(tensor, resnet18[name]) for name, tensor in trunk.state_dict().items())
    with pytest.raises(ValueError, match=r"weights\..* lack 'layer1.2.conv1.weight', so they belong to another archi"):
        Trunk("resnet34", weights=str(path))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layer1.2.conv1.weight": torch.zeros(1)}, "also hold 'layer1.2.conv1.weight'"),
        ({"conv1.weight": torch.zeros(4, 3, 7, 7)}, r"'conv1.weight' of shape \(4, 3, 7, 7\) where \(64, 3, 7, 7\)"),
    ],
)
def test_weights_of_another_architecture(
    tmp_path: Path, resnet18: dict[str, Tensor], changed: dict[str, Tensor], message: str
) -> None:
    torch.save(resnet18 | changed, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        Trunk("resnet18", weights=str(tmp_path / "other.pth"))


def test_unreadable_weights(tmp_path: Path) -> None:
    for name, content, message in (
        ("code.pth", pickle.dumps(Path, protocol=2), "cannot be read as plain tensors"),
        ("torn.safetensors", b"{", "cannot be read as plain tensors"),
        ("weights.npz", b"", r"invalid weights file 'weights.npz', expected one of \*.safetensors"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_weights(str(tmp_path / name), "resnet18")
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="no flat mapping of names to tensors"):
        read_weights(str(tmp_path / "checkpoint.pt"), "resnet18")
    with pytest.raises(ValueError, match="does not exist: give another file, `imagenet`, or none"):
        read_weights(str(tmp_path / "missing.pth"), "resnet18")


def test_imagenet_without_a_network_names_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> NoReturn:
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(ValueError, match=r"resnet50-.*\.pth elsewhere and name the local file .* or set the weights"):
        Trunk("resnet50", weights="imagenet")
