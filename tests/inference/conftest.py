# ruff: noqa: N815 - fields carry their shape as a suffix
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reid.export import Card, Descriptor, export_descriptor

SIZE = (16, 8)


@dataclass
class Described:
    """As a model's output has it."""

    descriptor_BD: Tensor


class Projection(nn.Module):
    """Stands in for a model: unit vectors of random projections."""

    def __init__(self) -> None:
        super().__init__()
        projection = torch.randn(3 * 16 * 8, 4, generator=torch.Generator().manual_seed(0))
        self.register_buffer("projection", projection)

    def forward(self, images_BCHW: Tensor) -> Described:
        return Described(nn.functional.normalize(images_BCHW.flatten(1) @ self.projection, dim=1))  # type: ignore[operator]


@pytest.fixture(scope="session")
def descriptor() -> Descriptor:
    return Descriptor(Projection(), SIZE, stage="final", settings={})


@pytest.fixture(scope="session")
def _export(tmp_path_factory: pytest.TempPathFactory, descriptor: Descriptor) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("export")
    card = Card(
        height=16, width=8, dim=4, phase="final", dataset="embedded", layout="three_parts",
        checkpoint="/data/runs/walk-1/final/epoch_0003", digest="ab", mAP=0.25,
    )  # fmt: skip
    export_descriptor(descriptor, card, folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def export(_export: dict[str, bytes], tmp_path: Path) -> Path:
    """The folder of an export of the smallest program there is, `descriptor`."""
    folder = tmp_path / "exports" / "walk-1.final"
    folder.mkdir(parents=True)
    for name, content in _export.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def checkpoint(save_untrained: Callable[..., Path]) -> Path:
    return save_untrained("baseline", overrides=["evaluation.batch_size=4"])


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Image files of every kind and of different sizes, sorted by name."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (90, 40, 4), np.uint8)
    rgb, exif = Image.fromarray(colours[..., :3]), Image.Exif()
    exif[0x0112] = 6  # the orientation: lying on its side
    rgb.save(folder / "a.jpg")
    rgb.save(folder / "b.jpg", exif=exif)
    Image.fromarray(colours[:71, :33, 0]).save(folder / "c.png")
    Image.fromarray(colours).save(folder / "d.png")
    Image.fromarray(rng.integers(0, 2**16, (60, 50), np.uint16)).save(folder / "e.png")
    rgb.quantize(16).save(folder / "f.png")
    rgb.resize((32, 64)).save(folder / "g.png")
    return sorted(folder.iterdir())
