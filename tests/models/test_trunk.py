import pickle
import urllib.error
from pathlib import Path
from typing import Any, NoReturn

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


@pytest.mark.parametrize("name", ["resnet19", "vit_b_16", "fcn_resnet50"])
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


def test_last_stride_1_is_for_resnets() -> None:
    with pytest.raises(ValueError, match="leave it at 2 for the trunk 'mobilenet_v2'"):
        Trunk("mobilenet_v2", last_stride=1)


def test_all_names_are_classification_models() -> None:
    assert {"resnet50", "convnext_tiny", "vgg19"} <= set(trunk_names()) <= set(torchvision.models.list_models())


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return torchvision.models.resnet18().state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, resnet18: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(resnet18, path) if suffix == ".pth" else save_file(resnet18, path)
    trunk = Trunk("resnet18", weights=str(path))
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
