"""Pairs of images and textures: each image finds its texture, and what does not pair is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid.config import load_manifest
from reid.data import DataError, prepare
from reid.data.readers import READERS, Records

SIZE = (64, 32)


def read(source: Path) -> dict[str, Records]:
    return READERS["texture_pairs"](source, load_manifest("texture_pairs", source), SIZE)


def test_a_rule_says_which_images_share_a_texture(pairs: Path) -> None:
    splits = read(pairs)
    assert list(splits) == ["train", "val"]
    train, val = splits["train"], splits["val"]
    assert train.paths == tuple(f"train/images/{person}_{image}.jpg" for person in "abc" for image in (1, 2))
    assert train.textures == tuple(f"train/textures/{person}.png" for person in "aabbcc")
    assert train.distinct_textures == tuple(f"train/textures/{person}.png" for person in "abc")
    assert train.seen is None
    assert val.seen == ("val/seen/d_1.png", "val/seen/e_1.png")
    assert (train.pids_N == -1).all()
    assert (train.camids_N == -1).all()


@pytest.fixture
def plain(pairs: Path) -> Path:
    """Pairs by equal names, whatever the suffixes, and no manifest."""
    (pairs / "manifest.yaml").unlink()
    for split in ("train", "val"):
        shutil.rmtree(pairs / split / "seen", ignore_errors=True)
        images = sorted((pairs / split / "images").iterdir())
        textures = sorted((pairs / split / "textures").iterdir())
        for image in images[len(textures) :]:
            image.unlink()
        for image, texture in zip(images, textures, strict=False):
            texture.rename(texture.with_name(f"{image.stem}.png"))
        (pairs / split / "images" / "Thumbs.db").write_bytes(b"no image")
    return pairs


def test_without_a_rule_pairs_have_equal_names(plain: Path) -> None:
    splits = read(plain)
    for split, records in splits.items():
        assert [Path(file).stem for file in records.textures or ()] == [Path(path).stem for path in records.paths]
        assert len(records) == (3 if split == "train" else 2)
    dataset = prepare("texture_pairs", plain, plain.with_name("store"), height=64, width=32)
    assert dataset.texture_layout is None, "a layout that we do not know"


def remove(*names: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        for name in names:
            (source / name).unlink()

    return change


def copy(name: str, other: str) -> Callable[[Path], None]:
    return lambda source: shutil.copy(source / name, source / other) and None


def no_folder(name: str) -> Callable[[Path], None]:
    return lambda source: shutil.rmtree(source / name)


def write_rule(rule: str) -> Callable[[Path], object]:
    return lambda source: (source / "manifest.yaml").write_text(f"textures: {rule}\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            remove("train/textures/b.png"),
            "train/textures: 6 images and 2 textures do not pair: it lacks b (of train/images/"
            "b_1.jpg). Add what is missing",
        ),
        (copy("train/textures/a.png", "train/textures/z.png"), "train/textures/z.png belong to no image"),
        (remove("val/images/e_1.jpg"), "1 images and 2 textures do not pair: val/textures/e.png belong to no image"),
        (copy("train/textures/a.png", "train/textures/a.jpg"), "a.png and a.jpg have one name: keep one"),
        (copy("train/images/a_1.jpg", "train/images/A1.jpg"), "the names of train/images/A1.jpg tell no texture"),
        (remove("val/seen/d_1.png"), "2 images and 1 masks do not pair: it lacks d_1 (of val/images/d_1.jpg)"),
        (copy("val/seen/d_1.png", "val/seen/d_9.png"), "val/seen/d_9.png belong to no image"),
        (no_folder("val/textures"), "lacks val/textures/"),
        (no_folder("val"), "lacks val/images/, val/textures/"),
        (no_folder("train/images"), "lacks train/images/"),
        (remove(*(f"train/images/{p}_{n}.jpg" for p in "abc" for n in (1, 2))), "train/images holds no .jpg or .png"),
        (write_rule("{file_name: '^(?P<texture>x)?'}"), "tell no texture (expected ^(?P<texture>x)?)"),
        (write_rule("{folder: clothes}"), "lacks train/clothes/, val/clothes/"),
    ],
)  # fmt: skip
def test_what_does_not_pair_is_named(pairs: Path, change: Callable[[Path], object], said: str) -> None:
    change(pairs)
    with pytest.raises(DataError) as error:
        read(pairs)
    assert said in str(error.value)
    assert str(pairs) in str(error.value)


def test_many_missing_textures_are_counted(plain: Path) -> None:
    for number in range(30):
        shutil.copy(plain / "train" / "images" / "a_1.jpg", plain / "train" / "images" / f"n{number:02d}.jpg")
    with pytest.raises(
        DataError, match=r"it lacks n00 \(of .*n09 \(of train/images/n09.jpg\) and 20 more \(30 in all\)"
    ):
        read(plain)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{file_name: '('}", "textures.file_name: is no regular expression"),
        ("{file_name: '(?P<texture>a{1001})'}", "textures.file_name: is no regular expression"),
        ("{file_name: '^([a-z]+)_'}", "lacks a group named texture"),
        ("{folder: ../elsewhere}", "textures.folder: '../elsewhere' must be the name of a folder"),
        ("{folder: ..}", "textures.folder: '..' must be the name of a folder"),
        ("{folder: ''}", "textures.folder: '' must be the name of a folder"),
        ("{folder: /etc}", "must be the name of a folder"),
        ("{layout: smplx}", "textures.layout: invalid layout 'smplx', expected one of embedded, or none"),
        ("{fyle_name: a}", "textures.fyle_name: Extra inputs are not permitted"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(pairs: Path, rule: str, said: str) -> None:
    write_rule(rule)(pairs)
    with pytest.raises(DataError) as error:
        read(pairs)
    assert f"{pairs}/manifest.yaml is malformed, correct it" in str(error.value)
    assert said in str(error.value)


def resized_to(width: int, height: int) -> Callable[[Path], None]:
    return lambda path: Image.open(path).resize((width, height)).save(path)


@pytest.mark.parametrize(
    ("place", "damage", "said"),
    [
        ("train/textures/b.png", resized_to(64, 32), "b.png has 64 × 32 pixels and is no square"),
        ("train/textures/b.png", lambda path: path.write_bytes(b"none"), "1 textures are not what they should be"),
        ("val/seen/d_1.png", resized_to(32, 64), "d_1.png has 32 × 64 pixels and is no square"),
        ("val/seen/d_1.png", lambda path: path.write_bytes(b"none"), "d_1.png is no image"),
    ],
)
def test_what_is_no_texture_is_named(
    pairs: Path, tmp_path: Path, place: str, damage: Callable[[Path], object], said: str
) -> None:
    damage(pairs / place)
    with pytest.raises(DataError) as error:
        prepare("texture_pairs", pairs, tmp_path / "store", height=64, width=32)
    assert said in str(error.value)
    assert str(pairs / place) in str(error.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("side", [16, 100])
def test_a_square_of_another_size_is_resized(pairs: Path, tmp_path: Path, side: int) -> None:
    resized_to(side, side)(pairs / "train" / "textures" / "b.png")
    dataset = prepare("texture_pairs", pairs, tmp_path / "store", height=64, width=32)
    picture = Image.open(pairs / "train" / "textures" / "b.png").convert("RGB")
    expected = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(dataset.splits["train"].textures([2])[0], expected)
