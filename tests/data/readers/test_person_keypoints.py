"""Joints of person images, from a file beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from reid.config import JOINTS
from reid.config.manifests import manifest_folder
from reid.data import DataError, Dataset, prepare
from reid.data.store import Encoding

Person = Callable[..., dict[str, Any]]
HEIGHT, WIDTH = 64, 32
FILE = "joints.json"
NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
WITHOUT = ("a/2.jpg", "b/4.jpg")
"""Images that the file lacks."""


class Source:
    """A folder of one's own, with a file of joints that a test may change before it is written."""

    def __init__(self, folder: Path, person: Person) -> None:
        self.folder = folder
        with (folder / "manifest.yaml").open("a") as manifest:
            manifest.write(f"keypoints: {FILE}\n")
        images = {path.relative_to(folder).as_posix(): Image.open(path).size for path in folder.glob("*/*.[pj]*")}
        self.images: list[dict[str, Any]] = [
            {"id": number, "file_name": name, "height": height, "width": width}
            for number, (name, (width, height)) in enumerate(sorted(images.items(), reverse=True))
            if name not in WITHOUT
        ]
        self.people = [
            person(image["id"], 7 + image["id"], [0.0, 0.0, float(image["width"]), float(image["height"])])
            for image in self.images
        ]
        self.content: dict[str, Any] = {
            "images": self.images,
            "annotations": self.people,
            "categories": [{"id": 1, "name": "person", "keypoints": NAMES}],
        }

    def person_of(self, name: str) -> dict[str, Any]:
        (number,) = [image["id"] for image in self.images if image["file_name"] == name]
        (found,) = [person for person in self.people if person["image_id"] == number]
        return found

    def prepare(self, destination: Path, encoding: Encoding = "raw") -> Dataset:
        (self.folder / FILE).write_text(json.dumps(self.content))
        return prepare("folder", self.folder, destination, height=HEIGHT, width=WIDTH, encoding=encoding)


@pytest.fixture
def source(folder: Path, person: Person) -> Source:
    return Source(folder, person)


@pytest.mark.parametrize("encoding", ["raw", "compressed"])
@pytest.mark.parametrize("chunk_rows", [2, 512])
def test_joints_lie_in_the_store_where_they_do_in_the_image(
    source: Source, tmp_path: Path, encoding: Encoding, chunk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid.data.preparation.CHUNK_ROWS", chunk_rows)
    dataset = source.prepare(tmp_path / "store", encoding)
    assert dataset.has_keypoints
    seen = 0
    for split in dataset.splits.values():
        joints_N1J3, ignored_NHW = (read(np.arange(len(split))) for read in (split.keypoints, split.ignore))
        assert joints_N1J3.shape == (len(split), 1, len(JOINTS), 3)
        assert ignored_NHW.shape == (len(split), HEIGHT // 8, WIDTH // 8)
        assert not ignored_NHW.any()
        for name, (joints_J3,) in zip(split.names, joints_N1J3.numpy(), strict=True):
            (path,) = [path for path in source.folder.glob(f"*/{Path(name).name}") if name in path.as_posix()]
            relative = path.relative_to(source.folder).as_posix()
            if relative in WITHOUT:
                assert not joints_J3.any()
                continue
            width, height = Image.open(path).size
            given = dict(zip(NAMES, np.reshape(source.person_of(relative)["keypoints"], (17, 3)), strict=True))
            shoulders = given["left_shoulder"], given["right_shoulder"]
            given["neck"] = np.array([*np.mean(shoulders, axis=0)[:2], min(shoulder[2] for shoulder in shoulders)])
            for joint, (x, y, visible) in zip(JOINTS, joints_J3, strict=True):
                expected_x, expected_y, expected_visible = given[joint]
                assert x == pytest.approx((expected_x + 0.5) * WIDTH / width - 0.5, abs=1e-4)
                assert y == pytest.approx((expected_y + 0.5) * HEIGHT / height - 0.5, abs=1e-4)
                assert visible == expected_visible
            seen += 1
    assert seen == len(source.images) == 7


def test_a_joint_stays_on_its_pixel(source: Source, tmp_path: Path) -> None:
    pixels = np.zeros((24, 20, 3), np.uint8)
    pixels[17, 4] = 255
    Image.fromarray(pixels).save(source.folder / "a" / "1.png")
    (image,) = [image for image in source.images if image["file_name"] == "a/1.png"]
    image |= {"height": 24, "width": 20}
    source.person_of("a/1.png")["keypoints"][:3] = [4, 17, 2]
    train = source.prepare(tmp_path / "store").splits["train"]
    row = next(row for row, name in enumerate(train.names) if "1" in name)
    brightness_HW = train.gather([row])[0, :, :, 0].double().numpy()
    (x, y, _) = train.keypoints([row])[0, 0, JOINTS.index("nose")].tolist()
    assert np.average(np.arange(WIDTH), weights=brightness_HW.sum(axis=0)) == pytest.approx(x, abs=0.1)
    assert np.average(np.arange(HEIGHT), weights=brightness_HW.sum(axis=1)) == pytest.approx(y, abs=0.1)


def test_joints_that_nobody_labelled_are_none(source: Source, tmp_path: Path) -> None:
    values = source.person_of("a/1.png")["keypoints"]
    values[3 * NAMES.index("left_shoulder") + 2] = 0
    values[3 * NAMES.index("right_knee") : 3 * NAMES.index("right_knee") + 3] = [0, 0, 0]
    train = source.prepare(tmp_path / "store").splits["train"]
    row = next(row for row, name in enumerate(train.names) if "1" in name)
    joints_J3 = train.keypoints([row])[0, 0].numpy()
    none = {joint for joint, values in zip(JOINTS, joints_J3, strict=True) if not values.any()}
    assert none == {"left_shoulder", "neck", "right_knee"}


def _two_in_an_image(content: dict[str, Any]) -> None:
    content["annotations"].append(content["annotations"][0] | {"id": 99})


def _two_images_of_a_name(content: dict[str, Any]) -> None:
    content["images"].append(content["images"][0] | {"id": 99})
    content["annotations"].append(content["annotations"][0] | {"id": 99, "image_id": 99})


def _names_without_folder(content: dict[str, Any]) -> None:
    for image in content["images"]:
        image["file_name"] = Path(image["file_name"]).name


def _no_size(content: dict[str, Any]) -> None:
    content["images"][1]["width"] = 0


def _size_as_text(content: dict[str, Any]) -> None:
    content["images"][1]["height"] = "24"


def _too_few_numbers(content: dict[str, Any]) -> None:
    content["annotations"][2]["keypoints"].pop()


def _no_keypoints(content: dict[str, Any]) -> None:
    del content["annotations"][2]["keypoints"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_two_in_an_image, "images b/5.jpg need one annotation each"),
        (_two_images_of_a_name, "images b/5.jpg need one annotation each"),
        (_names_without_folder, "has none of the images: name them by their path in"),
        (_no_size, "images 2 need a positive height and width"),
        (_size_as_text, "images 2 need a positive height and width"),
        (_too_few_numbers, "annotations 10 need 51 numbers as keypoints"),
        (_no_keypoints, "annotations 10 lack bbox, id, image_id, keypoints"),
        (dict.clear, "names no nose"),
    ],
)
def test_what_cannot_be_meant_is_named(
    source: Source, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    change(source.content)
    with pytest.raises(DataError) as error:
        source.prepare(tmp_path / "store")
    assert str(source.folder / FILE) in str(error.value)
    assert said in str(error.value)
    assert not (tmp_path / "store").exists()


def test_a_missing_file_is_named(source: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"there is no .*{FILE}"):
        prepare("folder", source.folder, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_where_the_manifest_names_no_file_there_are_no_joints(market_once: Path, tmp_path: Path) -> None:
    fields = yaml.safe_load((manifest_folder() / "embedded.yaml").read_text())
    for name, keypoints in (("with", fields["keypoints"]), ("without", None)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(fields | {"keypoints": keypoints}))
        dataset = prepare(str(tmp_path / f"{name}.yaml"), market_once, tmp_path / name)
        assert dataset.has_keypoints == (name == "with")
