"""Tiny datasets in the true on-disk formats of Market-1501 and COCO."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from reid.config import load_manifest

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
TRAIN = (2, 7, 11)
TEST = (1, 3)


def write_image(path: Path, seed: int, *, height: int = 128, width: int = 64) -> None:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=92)


def struct_of(pids: tuple[int, ...], fields: list[str], changes: dict[tuple[int, str], int]) -> dict[str, Any]:
    """One struct of `market_attribute.mat`: 1 × I values, 1 and 2, and identities as a cell of 4-character strings."""
    struct: dict[str, Any] = {}
    for field in fields:
        first_of_group = field in ("upblack", "downblack")
        struct[field] = np.array([[changes.get((pid, field), 2 if first_of_group else 1) for pid in pids]], np.uint8)
    index = np.empty((1, len(pids)), object)
    index[0] = [f"{pid:04d}" for pid in pids]
    return struct | {"image_index": index}


def write_attributes(path: Path, changes: dict[tuple[int, str], int] | None = None, drop: str | None = None) -> None:
    """Attributes in which everyone is of the first class; the fields of `test` are in another order than in `train`."""
    fields = [field for attribute in load_manifest("market1501").attributes for field in attribute.fields]
    fields = [field for field in fields if field != drop]
    structs = {
        "test": struct_of(TEST, fields[::-1], changes or {}),
        "train": struct_of(TRAIN, fields, changes or {}),
    }
    scipy.io.savemat(path, {"market_attribute": structs})


def write_market(root: Path) -> Path:
    """3 train identities of 4 images, 2 query images, a gallery of 4 good images, 2 distractors and 1 junk image."""
    files = {
        "train": [
            f"{pid:04d}_c{camera}s1_{100 * camera:06d}_0{camera}.jpg" for pid in TRAIN for camera in (1, 2, 3, 6)
        ],
        "query": ["0001_c1s1_000151_00.jpg", "0003_c2s3_000651_00.jpg"],
        "gallery": [
            *("-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0000_c4s6_018491_06.jpg"),
            *("0001_c2s1_000301_02.jpg", "0001_c3s3_076719_01.jpg.jpg"),
            *("0003_c1s6_015971_02.jpg", "0003_c2s3_000676_01.jpg"),
        ],
    }
    for split, names in files.items():
        folder = root / FOLDERS[split]
        folder.mkdir(parents=True)
        for number, name in enumerate(names):
            write_image(folder / name, seed=1000 * len(split) + number)
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0 no image")
    write_attributes(root / "market_attribute.mat")
    write_person_keypoints(root)
    (root / "textures").mkdir()
    for pid in (*TRAIN, *TEST):
        write_image(root / "textures" / f"{pid:04d}.png", seed=pid, width=128)
    return root


COCO_JOINTS = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip


def coco_person(image_id: int, number: int, box: list[float], joints: int = 17, **changes: Any) -> dict[str, Any]:
    """An annotation whose joint number j lies at a known place of its box."""
    left, top, width, height = box
    keypoints: list[float] = []
    for joint in range(17):
        x, y = left + width * (joint + 1) / 18, top + height * (joint + 1) / 18
        keypoints += [x, y, 1 + joint % 2] if joint < joints else [0, 0, 0]
    polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
    return {
        "id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0, "bbox": box, "area": width * height,
        "num_keypoints": joints, "keypoints": keypoints, "segmentation": [polygon],
    } | changes  # fmt: skip


def write_coco(root: Path, people: list[dict[str, Any]], *, height: int = 200, width: int = 300) -> Path:
    """One image for each image number among the people, the same for train and val."""
    images = sorted({person["image_id"] for person in people})
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        for image in images:
            write_image(root / split / f"{image:012d}.jpg", seed=image, height=height, width=width)
        content = {
            "images": [{"id": i, "file_name": f"{i:012d}.jpg", "height": height, "width": width} for i in images],
            "annotations": people,
            "categories": [{"id": 1, "name": "person", "keypoints": COCO_JOINTS, "skeleton": []}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))
    return root


def write_person_keypoints(root: Path) -> None:
    """Joints of every image but junk and distractors, as the embedded benchmark has them beside its images."""
    paths = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.jpg"))
    images = [{"id": number, "file_name": path, "height": 128, "width": 64} for number, path in enumerate(paths)]
    people = [
        coco_person(image["id"], 1 + image["id"], [0.0, 0.0, 54.0, 108.0])
        for image in images
        if not Path(image["file_name"]).name.startswith(("-1", "0000"))
    ]
    content = {
        "images": images,
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": COCO_JOINTS, "skeleton": []}],
    }
    (root / "person_keypoints.json").write_text(json.dumps(content))


def write_pairs(root: Path) -> Path:
    """Three people with two images each in train, two with one each in val, where what the images show is known."""
    for split, people, images in (("train", "abc", (1, 2)), ("val", "de", (1,))):
        for folder in ("images", "textures", "seen"):
            (root / split / folder).mkdir(parents=True)
        for person in people:
            write_image(root / split / "textures" / f"{person}.png", seed=ord(person), height=64)
            for image in images:
                write_image(root / split / "images" / f"{person}_{image}.jpg", seed=100 * image + ord(person))
                if split == "val":
                    mask = np.random.default_rng(ord(person)).random((64, 64)) < 0.3
                    Image.fromarray(mask).save(root / split / "seen" / f"{person}_{image}.png")
    (root / "train" / "seen").rmdir()
    (root / "manifest.yaml").write_text("textures: {layout: embedded, file_name: '^(?P<texture>[a-z]+)_'}\n")
    return root


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs")


@pytest.fixture(scope="session")
def pairs_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def market(tmp_path: Path) -> Path:
    return write_market(tmp_path / "market")


@pytest.fixture(scope="session")
def market_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return write_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def rewrite_attributes() -> Callable[..., None]:
    return write_attributes


@pytest.fixture(scope="session")
def person() -> Callable[..., dict[str, Any]]:
    return coco_person


@pytest.fixture(scope="session")
def make_coco() -> Callable[..., Path]:
    return write_coco


@pytest.fixture(scope="session")
def coco_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    people = [
        *(coco_person(image, 10 * image, [40.0 + 9 * image, 30.0, 50.0, 110.0]) for image in range(1, 7)),
        coco_person(2, 21, [110.0, 40.0, 40.0, 90.0], joints=12),
        coco_person(3, 31, [60.0, 60.0, 60.0, 64.0], joints=0),
    ]
    return write_coco(tmp_path_factory.mktemp("coco"), people)
