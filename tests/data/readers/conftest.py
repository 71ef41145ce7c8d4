"""Tiny datasets in the true on-disk formats of those that have a reader."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from reid.config import load_manifest

Changes = dict[tuple[int, str], int]


def write_images(root: Path, names: Iterable[str]) -> None:
    """A small image of another size and content for each name, and a file that Windows leaves in each folder."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(12, 40, 2)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / name)
        ((root / name).parent / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0 no image")


def write_duke_attributes(
    path: Path, *, train: Collection[int], test: Collection[int], changes: Changes | None = None
) -> None:
    """Attributes in which everyone has value 1, and black clothes, but for `changes` by (identity, field)."""
    fields = [field for attribute in load_manifest("dukemtmc").attributes for field in attribute.fields]

    def struct(pids: Collection[int], order: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {
            field: np.array(
                [[(changes or {}).get((pid, field), 1 + field.endswith("black")) for pid in pids]], np.uint8
            )
            for field in order
        }
        index = np.empty((1, len(pids)), object)
        index[0] = [f"{pid:04d}" for pid in pids]
        return values | {"image_index": index}

    scipy.io.savemat(path, {"duke_attribute": {"train": struct(train, fields), "test": struct(test, fields[::-1])}})


def write_dukemtmc(root: Path) -> Path:
    """2 train identities, 2 queried ones, and identity 30, a distractor; nobody has annotated it."""
    write_images(root / "bounding_box_train", (f"00{pid}_c{c}_f00{c}4182.jpg" for pid in (10, 12) for c in (1, 2, 8)))
    write_images(root / "query", ["0011_c2_f0046182.jpg", "0020_c5_f0046183.jpg"])
    write_images(root / "bounding_box_test", (f"00{pid}_c{c}_f0050000.jpg" for pid in (11, 20) for c in (2, 3, 5)))
    write_images(root / "bounding_box_test", ["0030_c7_f0050123.jpg", "0030_c7_f0050243.jpg"])
    write_duke_attributes(root / "duke_attribute.mat", train=(10, 12), test=(11, 20))
    return root


def write_cuhk03np(root: Path) -> Path:
    """Both kinds of boxes; the detector missed one image of identity 3."""
    for kind in ("detected", "labeled"):
        write_images(root / kind / "bounding_box_train", (f"000{pid}_c{c}_{c}.png" for pid in (1, 4) for c in (1, 2)))
        write_images(root / kind / "query", (f"000{pid}_c{c}_1.png" for pid in (2, 3) for c in (1, 2)))
        shown = [(pid, c, n) for pid in (2, 3) for c in (1, 2) for n in (2, 3)]
        kept = shown[: -1 if kind == "detected" else None]
        write_images(root / kind / "bounding_box_test", (f"000{pid}_c{c}_{n}.png" for pid, c, n in kept))
    return root


def write_msmt17(root: Path, version: int = 1) -> Path:
    """Train and test identities are both numbered from 0."""
    train, test = ("train", "test") if version == 1 else ("mask_train_v2", "mask_test_v2")
    lists = {
        "train": [(pid, shot, 1 + 7 * shot) for pid in (0, 1) for shot in (0, 1, 2)],
        "val": [(pid, 3, 4) for pid in (0, 1)],
        "query": [(pid, 0, 2) for pid in (0, 1, 2)],
        "gallery": [(pid, shot, 2 + shot) for pid in (0, 1, 2) for shot in (1, 2)],
    }
    for split, images in lists.items():
        names = {f"{pid:04}/{pid:04}_{shot:03}_{c:02}_0303morning_0008_0.jpg": pid for pid, shot, c in images}
        write_images(root / (train if split in ("train", "val") else test), names)
        (root / f"list_{split}.txt").write_text("".join(f"{name} {pid}\n" for name, pid in names.items()))
    return root


PETA_NAMES = {
    "3DPeS": "{key}_{n}_FRAME_2{n}_RGB.bmp",
    "CAVIAR4REID": "{key}_00{n}.jpg",
    "GRID": "{key}_{n}.jpeg",
    "i-LID": "{key}_{n}.jpg",
    "MIT": "{key}_{n}.jpg",
    "PRID": "{key}_{n}.png",
    "SARC3D": "{key}_{n}.bmp",
    "TownCentre": "{key}_{n}.jpg",
    "VIPeR": "{key}_{n}.bmp",
}
PETA_PEOPLE = {
    "0001": "personalMale personalLess30 hairShort upperBodyLongSleeve upperBodyBlack upperBodyWhite lowerBodyBlue "
    "lowerBodyJeans lowerBodyCasual footwearSneakers footwearWhite carryingBackpack accessoryNothing hairBlack",
    "0002": "personalFemale personalLarger60 hairLong upperBodyNoSleeve upperBodyRed lowerBodyShortSkirt lowerBodyPink "
    "footwearBoots footwearBlack carryingPlasticBags carryingOther accessoryHat accessoryShawl",
    "0003": "personalFemale personalLess45 lowerBodyTrousers lowerBodyLongSkirt carryingNothing",
    "0004": "personalMale personalLess60 accessoryMuffler accessorySunglasses upperBodyCasual upperBodyFormal "
    "upperBodyJacket upperBodyLogo upperBodyPlaid upperBodyShortSleeve upperBodyThinStripes upperBodyTshirt "
    "upperBodyOther upperBodyVNeck lowerBodyFormal lowerBodyShorts footwearLeatherShoes footwearSandals footwearShoes "
    "carryingMessengerBag",
}
"""The third has one image only; the fourth, with all labels that the others lack, is in CUHK alone."""


def write_peta(root: Path) -> Path:
    """In every subset two people with 2 and 3 images and one with a single image; in CUHK four separate images."""
    for subset, pattern in PETA_NAMES.items():
        images = [("0001", 0), ("0001", 1), ("0002", 0), ("0002", 1), ("0002", 2), ("0003", 0)]
        write_images(root / subset / "archive", (pattern.format(key=key, n=n) for key, n in images))
    write_images(root / "CUHK" / "archive", (f"{key}.png" for key in PETA_PEOPLE))
    for subset in (*PETA_NAMES, "CUHK"):
        suffix = ".png" if subset == "CUHK" else ""
        lines = [f"{key}{suffix} {labels} \r\n" for key, labels in PETA_PEOPLE.items()]
        (root / subset / "archive" / "Label.txt").write_bytes("".join(lines).encode())
    return root


OWN_MANIFEST = """
title: Shop floor
attributes:
  - {name: hat, region: head, classes: ['no', 'yes'], fields: [hat]}
  - {name: coat, region: upper_body, classes: [none, short, long], fields: [coat_length]}
"""
OWN_LABELS = """path,split,pid,camid,coat_length,hat
a/1.png,train,1,1,short,yes
a/2.jpg,train,1,,long,
"a/3, late.jpg",train,7,2,,no
a/4.jpg,train,7,2,none,no
b/1.jpg,query,3,,none,no
b/2.jpg,query,9,2,none,no
b/3.jpg,gallery,3,,none,yes
b/4.jpg,gallery,9,1,none,no
b/5.jpg,gallery,0,1,,
"""


def write_folder_csv(root: Path) -> Path:
    """2 train identities, 2 queried ones and a distractor; some cameras are unknown."""
    write_images(root, ["a/1.png", "a/2.jpg", "a/3, late.jpg", "a/4.jpg", *(f"b/{n}.jpg" for n in range(1, 6))])
    (root / "labels.csv").write_text(OWN_LABELS)
    (root / "manifest.yaml").write_text(OWN_MANIFEST)
    return root


@pytest.fixture
def duke(tmp_path: Path) -> Path:
    return write_dukemtmc(tmp_path / "DukeMTMC-reID")


@pytest.fixture(scope="session")
def rewrite_duke_attributes() -> Callable[..., None]:
    return write_duke_attributes


@pytest.fixture
def cuhk(tmp_path: Path) -> Path:
    return write_cuhk03np(tmp_path / "cuhk03-np")


@pytest.fixture
def msmt(tmp_path: Path) -> Path:
    return write_msmt17(tmp_path / "MSMT17_V1")


@pytest.fixture
def msmt_v2(tmp_path: Path) -> Path:
    return write_msmt17(tmp_path / "MSMT17_V2", version=2)


@pytest.fixture
def peta(tmp_path: Path) -> Path:
    return write_peta(tmp_path / "PETA dataset")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder_csv(tmp_path / "mine")


@pytest.fixture(scope="session")
def sources(
    tmp_path_factory: pytest.TempPathFactory, market_once: Path, coco_once: Path, pairs_once: Path
) -> dict[str, Path]:
    """A source folder for every reader, for tests that change nothing."""
    root = tmp_path_factory.mktemp("sources")
    cuhk03np = write_cuhk03np(root / "cuhk03-np")
    return {
        "coco": coco_once,
        "coco_whole": coco_once,
        "cuhk03np_detected": cuhk03np,
        "cuhk03np_labelled": cuhk03np,
        "dukemtmc": write_dukemtmc(root / "DukeMTMC-reID"),
        "folder_csv": write_folder_csv(root / "mine"),
        "market1501": market_once,
        "msmt17": write_msmt17(root / "MSMT17_V1"),
        "peta": write_peta(root / "PETA dataset"),
        "texture_pairs": pairs_once,
    }
