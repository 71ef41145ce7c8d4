"""What a model makes of images: the same as `jobs/extract.py`, whatever form they come in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import reid
from reid.config import DataError
from reid.data import DescriptorTable
from reid.jobs import extract


@pytest.fixture
def model(checkpoint: Path) -> reid.Model:
    return reid.load(checkpoint, device="cpu")


def test_descriptors_are_bit_for_bit_those_of_the_job(
    model: reid.Model, checkpoint: Path, images: list[Path], tmp_path: Path, storage: Path
) -> None:
    table = tmp_path / "table.parquet"
    places = ["--checkpoint", str(checkpoint), "--images", str(images[0].parent), "--output", str(table)]
    extract.main([*places, "--set", "scaling.num_workers=0"], standalone_mode=False)
    opened = DescriptorTable(table)
    assert [opened.row(row)["name"] for row in range(len(opened))] == [file.name for file in images]
    (expected_ND,) = opened.blocks()
    found_ND = model.describe(images)
    assert (found_ND.dtype, found_ND.shape) == (np.float32, (7, model.dim))
    np.testing.assert_array_equal(found_ND, expected_ND.numpy())
    np.testing.assert_allclose(np.linalg.norm(found_ND, axis=1), 1, atol=1e-6)
    assert np.abs(found_ND - np.roll(found_ND, 2, axis=0)).max(axis=1).min() > 1e-4, "these are different images"
    np.testing.assert_allclose(model.describe(images, batch_size=2), found_ND, rtol=0, atol=1e-5)


def test_files_decoded_images_and_arrays_mix(model: reid.Model, images: list[Path]) -> None:
    decoded = [Image.open(file) for file in images]
    arrays = [np.asarray(image.convert("RGB")) for image in decoded]
    expected_ND = model.describe([str(file) for file in images])
    for mixed in (decoded, arrays, [images[0], arrays[1], decoded[2], *images[3:]]):
        np.testing.assert_array_equal(model.describe(mixed), expected_ND)
    alike_NHW3 = np.stack([np.asarray(image.resize((32, 64))) for image in map(Image.fromarray, arrays)])
    np.testing.assert_array_equal(model.describe(alike_NHW3), model.describe(list(alike_NHW3)))


def test_no_images_have_no_descriptors(model: reid.Model) -> None:
    found_ND = model.describe([])
    assert (found_ND.dtype, found_ND.shape) == (np.float32, (0, model.dim))


def test_what_a_model_says_of_itself(model: reid.Model, checkpoint: Path) -> None:
    assert (model.place, model.image_size) == (str(checkpoint), (64, 32))
    assert repr(model) == f"<reid.Model of {checkpoint}: images of 64 × 32 pixels to {model.dim} numbers>"


@pytest.mark.parametrize(
    "single", [lambda files: str(files[0]), lambda files: files[0], lambda files: Image.open(files[0])]
)
def test_a_single_image_belongs_into_a_list(
    model: reid.Model, images: list[Path], single: Callable[[list[Path]], Any]
) -> None:
    with pytest.raises(TypeError, match="describe takes several images: put a single one into a list"):
        model.describe(single(images))


def test_what_is_no_image(model: reid.Model, images: list[Path]) -> None:
    with pytest.raises(TypeError, match="put a single one into a list"):
        model.describe(np.zeros((64, 32, 3), np.uint8))
    content = images[1].read_bytes()
    images[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"image 1: {images[1]} cannot be decoded"):
        model.describe(images)
    with pytest.raises(DataError, match="image 1: it cannot be decoded"):
        model.describe([images[0], Image.open(images[1])])
    with pytest.raises(DataError, match=r"image 1: .*nowhere.jpg"):
        model.describe([images[0], "nowhere.jpg"])
    for array in (np.zeros((64, 32, 3)), np.zeros((64, 32), np.uint8), np.zeros((64, 32, 4), np.uint8)):
        with pytest.raises(DataError, match=r"image 0: an array .* is no image: give uint8 \(height, width, 3\)"):
            model.describe([array])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="a int is no image: give a PIL image, a uint8 array or a path"):
        model.describe([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="batch_size is 0: give at least 1"):
        model.describe([], batch_size=0)
