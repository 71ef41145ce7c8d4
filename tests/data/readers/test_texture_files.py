"""Textures beside a re-ID dataset's images, by the names of the images."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reid.config.manifests import manifest_folder
from reid.data import DataError, Dataset, prepare


def prepared(market: Path, destination: Path, **rule: str) -> Dataset:
    fields = yaml.safe_load((manifest_folder() / "embedded.yaml").read_text())
    own = destination.with_name("own.yaml")
    own.write_text(yaml.safe_dump(fields | {"textures": fields["textures"] | rule}))
    return prepare(str(own), market, destination)


def test_any_reader_s_images_may_have_textures(folder: Path, tmp_path: Path) -> None:
    (folder / "clothes").mkdir()
    for image in folder.glob("*/*.[pj]*"):
        if image.name != "5.jpg":
            (folder / "clothes" / f"{image.stem}.png").write_bytes((folder / "a" / "1.png").read_bytes())
    with (folder / "manifest.yaml").open("a") as manifest:
        manifest.write("textures: {folder: clothes}\n")
    with pytest.raises(DataError, match="is no square"):
        prepare("folder", folder, tmp_path / "store", height=64, width=32)


def test_textures_that_nobody_has_are_left_alone(market: Path, tmp_path: Path) -> None:
    (market / "textures" / "0042.png").write_bytes((market / "textures" / "0001.png").read_bytes())
    assert prepared(market, tmp_path / "store").splits["train"].has_textures


def remove_two(market: Path) -> None:
    for pid in (3, 7):
        (market / "textures" / f"{pid:04d}.png").unlink()


def remove_all(market: Path) -> None:
    for path in (market / "textures").iterdir():
        path.unlink()
    (market / "textures").rmdir()


@pytest.mark.parametrize(
    ("change", "rule", "said"),
    [
        (
            remove_two,
            {},
            "textures lacks the textures 0003 (of bounding_box_test/0003_c1s6_015971_02.jpg), 0007 (of "
            "bounding_box_train/0007_c1s1_000100_01.jpg): put them there",
        ),
        (remove_all, {}, "lacks textures/"),
        (None, {"folder": "clothes"}, "lacks clothes/"),
        (None, {"file_name": r"^(?P<texture>000[12])_"}, "the names of bounding_box_test/0003_c1s6_015971_02.jpg, "),
        (None, {"file_name": r"^(?P<texture>000[12])_"}, "tell no texture (expected ^(?P<texture>000[12])_)"),
    ],
)  # fmt: skip
def test_images_without_their_texture_are_named(
    market: Path, tmp_path: Path, change: Callable[[Path], None] | None, rule: dict[str, str], said: str
) -> None:
    if change is not None:
        change(market)
    with pytest.raises(DataError) as error:
        prepared(market, tmp_path / "store", **rule)
    assert said in str(error.value)
    assert str(market) in str(error.value)
    assert not (tmp_path / "store").exists()
