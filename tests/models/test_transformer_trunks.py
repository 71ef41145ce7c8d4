"""Transformers as trunks: their tokens as a map."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from reid.models.trunk import Trunk, _resampled, trunk_names

PATCH = 16


@pytest.fixture(scope="module")
def vit() -> tuple[Trunk, Any]:
    """The trunk, and torchvision's model on the same tensors, which are held once."""
    torch.manual_seed(0)
    trunk = Trunk("vit_b_16").eval()
    assert trunk.class_token is not None
    torch.nn.init.normal_(trunk.class_token)  # zero at first
    with torch.device("meta"):
        model = torchvision.models.vit_b_16().eval()
    missing, surplus = model.load_state_dict(trunk.state_dict(), strict=False, assign=True)
    assert {name.split(".")[0] for name in missing} == {"heads"}
    assert not surplus
    return trunk, model


@torch.no_grad()
def test_a_vision_transformers_map_is_made_of_its_encoders_tokens(vit: tuple[Trunk, Any]) -> None:
    trunk, model = vit
    images = torch.randn(1, 3, 224, 224)
    tokens_BTC = model.encoder(torch.cat((model.class_token, model._process_input(images)), dim=1))
    map_BChw = trunk(images)
    assert map_BChw.shape == (1, trunk.channels, 14, 14)
    for cell, token_C in enumerate(tokens_BTC[0, 1:]):
        torch.testing.assert_close(map_BChw[0, :, cell // 14, cell % 14], token_C)


@torch.no_grad()
def test_a_vision_transformer_looks_at_images_of_any_shape(vit: tuple[Trunk, Any]) -> None:
    """A cell follows its own patch most."""
    trunk, _ = vit
    images = torch.randn(1, 3, 128, 64).expand(4, -1, -1, -1).clone()
    patches = [(0, 3), (6, 1), (3, 2)]
    for image, (row, column) in zip(images[1:], patches, strict=True):
        image[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] += 1
    maps_BChw = trunk(images)
    assert maps_BChw.shape == (4, trunk.channels, 8, 4)
    moved_Bhw = (maps_BChw[1:] - maps_BChw[0]).norm(dim=1)
    assert [divmod(int(cell), 4) for cell in moved_Bhw.flatten(1).argmax(dim=1)] == patches


def test_positions_keep_their_place_on_another_grid() -> None:
    """Embeddings that count rows and columns do so on every grid, in cells of the old one."""
    rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    positions_1PC = torch.stack((rows, columns), dim=-1).reshape(1, 196, 2)
    assert torch.equal(_resampled(positions_1PC, (14, 14))[0].permute(1, 2, 0).reshape(1, 196, 2), positions_1PC)
    for height, width in ((8, 4), (16, 8), (7, 14)):
        grid_2hw: Tensor = _resampled(positions_1PC, (height, width))[0]
        expected_h = (torch.arange(height) + 0.5) * 14 / height - 0.5
        expected_w = (torch.arange(width) + 0.5) * 14 / width - 0.5
        expected_2hw = torch.stack(torch.meshgrid(expected_h, expected_w, indexing="ij"))
        torch.testing.assert_close(grid_2hw, expected_2hw, rtol=0, atol=0.35)  # the border bends it


def test_a_swin_transformer_is_its_model_without_the_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.models.swin_t().eval()
    save_file(model.state_dict(), tmp_path / "swin_t.safetensors")
    trunk = Trunk("swin_t", weights=str(tmp_path / "swin_t.safetensors")).eval()
    images = torch.randn(2, 3, 128, 64)
    with torch.no_grad():
        map_BChw = trunk(images)
        assert map_BChw.shape == (2, trunk.channels, 4, 2)
        torch.testing.assert_close(map_BChw, model.permute(model.norm(model.features(images))))
        torch.testing.assert_close(model.head(map_BChw.mean(dim=(2, 3))), model(images))


def test_transformers_are_among_the_trunks() -> None:
    assert {"vit_b_16", "vit_l_32", "swin_t", "swin_v2_b"} <= set(trunk_names())
