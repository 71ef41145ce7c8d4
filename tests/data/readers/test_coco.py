import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid.config import load_manifest
from reid.config.body import JOINTS
from reid.data import DataError, plan_digest
from reid.data.readers import READERS, Records

SIZE = (128, 64)
Person = Callable[..., dict[str, Any]]
MakeCoco = Callable[..., Path]
COCO_NOSE, COCO_LEFT_SHOULDER, COCO_RIGHT_SHOULDER, COCO_RIGHT_ANKLE = 0, 5, 6, 16


def read(source: Path) -> dict[str, Records]:
    return READERS["coco"](source, load_manifest("coco"), SIZE)


def in_crop(records: Records, row: int, x: float, y: float) -> tuple[float, float]:
    """Where a point of the source image is in the stored image."""
    assert records.crops is not None
    left, top, right, bottom = records.crops.boxes_N4[row]
    return (x + 0.5 - left) * SIZE[1] / (right - left) - 0.5, (y + 0.5 - top) * SIZE[0] / (bottom - top) - 0.5


def test_joints_follow_the_crop(tmp_path: Path, person: Person, make_coco: MakeCoco) -> None:
    subject = person(1, 5, [100.0, 40.0, 50.0, 120.0])
    records = read(make_coco(tmp_path, [subject]))["train"]
    assert records.crops is not None
    assert records.paths == ("train2017/000000000001.jpg",)
    given = np.array(subject["keypoints"]).reshape(17, 3)
    for joint, theirs in (
        ("nose", COCO_NOSE),
        ("right_ankle", COCO_RIGHT_ANKLE),
        ("left_shoulder", COCO_LEFT_SHOULDER),
    ):
        x, y, visible = records.crops.keypoints_NMJ3[0, 0, JOINTS.index(joint)]
        assert (x, y) == pytest.approx(in_crop(records, 0, *given[theirs, :2]), abs=1e-3)
        assert visible == given[theirs, 2]
    neck = records.crops.keypoints_NMJ3[0, 0, JOINTS.index("neck")]
    between = given[[COCO_LEFT_SHOULDER, COCO_RIGHT_SHOULDER], :2].mean(axis=0)
    assert neck[:2] == pytest.approx(in_crop(records, 0, *between), abs=1e-3)
    assert neck[2] == given[[COCO_LEFT_SHOULDER, COCO_RIGHT_SHOULDER], 2].min()


def test_the_crop_holds_the_box_at_the_aspect_ratio(tmp_path: Path, person: Person, make_coco: MakeCoco) -> None:
    boxes = [[100.0, 40.0, 50.0, 120.0], [10.0, 80.0, 120.0, 40.0]]
    people = [person(image, image, box) for image, box in enumerate(boxes)]
    records = read(make_coco(tmp_path, people))["train"]
    assert records.crops is not None
    for (left, top, right, bottom), (x, y, width, height) in zip(records.crops.boxes_N4, boxes, strict=True):
        assert left <= x
        assert top <= y
        assert right >= x + width
        assert bottom >= y + height
        assert (bottom - top) / (right - left) == pytest.approx(2, abs=0.05)


def test_the_neck_needs_both_shoulders(tmp_path: Path, person: Person, make_coco: MakeCoco) -> None:
    records = read(make_coco(tmp_path, [person(1, 5, [100.0, 40.0, 50.0, 120.0], joints=6)]))["train"]
    assert records.crops is not None
    seen = records.crops.keypoints_NMJ3[0, 0]
    assert seen[JOINTS.index("left_shoulder"), 2] > 0
    assert seen[JOINTS.index("right_shoulder")].tolist() == [0, 0, 0]
    assert seen[JOINTS.index("neck")].tolist() == [0, 0, 0]


def test_who_is_a_subject_who_is_seen_and_who_is_ignored(tmp_path: Path, person: Person, make_coco: MakeCoco) -> None:
    crowd = {"size": [200, 300], "counts": [0, 200 * 300]}
    people = [
        person(1, 1, [100.0, 40.0, 50.0, 120.0]),
        person(1, 2, [120.0, 50.0, 40.0, 100.0], joints=4),  # seen, too little annotated to be a subject
        person(1, 3, [110.0, 60.0, 10.0, 24.0]),  # seen, too small
        person(1, 4, [105.0, 60.0, 40.0, 90.0], joints=0),
        person(1, 5, [0.0, 0.0, 300.0, 200.0], joints=0, iscrowd=1, segmentation=crowd),
        person(1, 6, [260.0, 60.0, 30.0, 60.0], joints=0),  # not in the first crop
        person(1, 7, [240.0, 50.0, 50.0, 120.0]),  # a subject of its own, likewise
    ]
    records = read(make_coco(tmp_path, people))["train"]
    assert records.crops is not None
    assert records.names == ("000000000001_1", "000000000001_7")
    seen = (records.crops.keypoints_NMJ3[..., 2] > 0).sum(axis=-1)
    assert seen[0].tolist() == [18, 4, 18] or seen[0].tolist() == [18, 18, 4]
    assert seen[1].tolist() == [18, 0, 0]
    assert records.crops.ignored[0] == (people[3]["segmentation"], crowd)
    assert records.crops.ignored[1] == (crowd, people[5]["segmentation"])


def test_people_beyond_the_limit_are_ignored(tmp_path: Path, person: Person, make_coco: MakeCoco) -> None:
    people = [person(1, number, [100.0 + 2 * number, 40.0, 50.0, 120.0]) for number in range(10)]
    records = read(make_coco(tmp_path, people))["train"]
    assert records.crops is not None
    assert records.crops.keypoints_NMJ3.shape == (10, 8, 18, 3)
    assert records.crops.ignored[0] == (people[8]["segmentation"], people[9]["segmentation"])
    nose = records.crops.keypoints_NMJ3[4, 0, JOINTS.index("nose"), :2]
    assert nose == pytest.approx(in_crop(records, 4, *people[4]["keypoints"][:2]), abs=1e-3), "the subject is first"


def read_whole(source: Path) -> dict[str, Records]:
    return READERS["coco_whole"](source, load_manifest("coco_whole"), SIZE)


@pytest.mark.parametrize(
    ("height", "width", "scale", "offset"),
    [
        (200, 300, 64 / 300, (0, 200)),
        (300, 100, 128 / 300, (25, 0)),
        (256, 128, 0.5, (0, 0)),
        (101, 51, 64 / 51, (0, 0)),
    ],
)
def test_a_whole_image_is_fitted_in_with_its_joints(
    tmp_path: Path,
    person: Person,
    make_coco: MakeCoco,
    height: int,
    width: int,
    scale: float,
    offset: tuple[int, int],
) -> None:
    given = person(1, 5, [10.0, 20.0, 35.0, 70.0])
    source = make_coco(tmp_path, [given], height=height, width=width)
    records = read_whole(source)["train"]
    assert records.crops is not None
    assert records.names == ("000000000001",)
    left, top, right, bottom = records.crops.boxes_N4[0]
    assert left <= 0
    assert top <= 0
    assert right >= width
    assert bottom >= height
    assert min(right - left - width, bottom - top - height) <= 1
    assert (-left, -top) == pytest.approx(offset, abs=1)
    for joint, theirs in (("nose", COCO_NOSE), ("right_ankle", COCO_RIGHT_ANKLE)):
        x, y, _ = records.crops.keypoints_NMJ3[0, 0, JOINTS.index(joint)]
        true_x, true_y = given["keypoints"][3 * theirs : 3 * theirs + 2]
        assert x == pytest.approx((true_x + 0.5 + offset[0]) * scale - 0.5, abs=1.01 * scale)
        assert y == pytest.approx((true_y + 0.5 + offset[1]) * scale - 0.5, abs=1.01 * scale)
        assert (x, y) == pytest.approx(in_crop(records, 0, true_x, true_y), abs=1e-3)


def test_the_subject_of_a_whole_image_is_the_largest_who_could_be_a_crop_s(
    tmp_path: Path, person: Person, make_coco: MakeCoco
) -> None:
    people = [
        person(1, 1, [250.0, 40.0, 40.0, 100.0]),
        person(1, 2, [10.0, 20.0, 100.0, 170.0], joints=4),  # larger than all, too little annotated
        person(1, 3, [110.0, 60.0, 200.0, 24.0], joints=6),  # large, but too flat
        person(1, 4, [120.0, 30.0, 50.0, 120.0], joints=13),
        person(1, 5, [180.0, 30.0, 50.0, 150.0], joints=0),
        person(2, 6, [10.0, 20.0, 100.0, 170.0], joints=4),  # nobody's image
    ]
    records = read_whole(make_coco(tmp_path, people))["train"]
    assert records.crops is not None
    assert records.names == ("000000000001",)
    noses = records.crops.keypoints_NMJ3[0, :, JOINTS.index("nose"), :2]
    for nose, row in zip(noses, (3, 0, 1, 2), strict=True):
        assert nose == pytest.approx(in_crop(records, 0, *people[row]["keypoints"][:2]), abs=1e-3)
    assert records.crops.ignored == ((people[4]["segmentation"],),)


def test_people_of_a_whole_image_beyond_the_limit_are_ignored(
    tmp_path: Path, person: Person, make_coco: MakeCoco
) -> None:
    people = [person(1, number, [20.0 * number, 40.0, 20.0, 100.0 - number]) for number in range(11)]
    records = read_whole(make_coco(tmp_path, people))["train"]
    assert records.crops is not None
    assert records.crops.keypoints_NMJ3.shape == (1, 8, 18, 3)
    assert records.crops.ignored == (tuple(person["segmentation"] for person in people[8:]),)


def test_crops_and_whole_images_are_different_stores(coco_once: Path) -> None:
    assert plan_digest("coco", coco_once) != plan_digest("coco_whole", coco_once)


def no_file(root: Path) -> None:
    (root / "annotations" / "person_keypoints_val2017.json").unlink()


def no_image(root: Path) -> None:
    (root / "train2017" / "000000000004.jpg").unlink()


def no_folder(root: Path) -> None:
    (root / "val2017").rename(root / "val2014")


def truncated(root: Path) -> None:
    path = root / "annotations" / "person_keypoints_train2017.json"
    path.write_text(path.read_text()[:500])


def change(root: Path, apply: Callable[[dict[str, Any]], None]) -> None:
    path = root / "annotations" / "person_keypoints_train2017.json"
    content = json.loads(path.read_text())
    apply(content)
    path.write_text(json.dumps(content))


def other_annotations(root: Path) -> None:
    change(root, lambda content: content["categories"][0].pop("keypoints"))


def escaping(root: Path) -> None:
    change(root, lambda content: content["images"][0].update(file_name="../secret.jpg"))


def boxless(root: Path) -> None:
    change(root, lambda content: content["annotations"][1].pop("bbox"))


def sizeless(root: Path) -> None:
    change(root, lambda content: content["images"][1].pop("width"))


def nobody(root: Path) -> None:
    change(root, lambda content: content.update(annotations=[]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bbox": [100.0, 40.0, 50.0]}, "annotations 4 need four numbers as bbox"),
        ({"bbox": ["100", "40", "50", "120"]}, "annotations 4 need four numbers as bbox"),
        ({"bbox": None}, "annotations 4 need four numbers as bbox"),
        ({"bbox": [100.0, 40.0, float("nan"), 120.0]}, "annotations 4 need four numbers as bbox"),
        ({"keypoints": [1, 2, 2]}, "annotations 4 need 51 numbers as keypoints"),
        ({"keypoints": ["x"] * 51}, "annotations 4 need 51 numbers as keypoints"),
        ({"num_keypoints": "17"}, "annotations 4 need a whole number as num_keypoints"),
        ({"segmentation": "outline"}, "annotations 4 need polygons or run lengths as segmentation"),
        ({"segmentation": [[1, 2]]}, "annotations 4 need polygons or run lengths as segmentation"),
        ({"segmentation": {"counts": [1, 2], "size": "x"}}, "annotations 4 need polygons or run lengths"),
    ],
)
def test_a_senseless_annotation_is_named(
    tmp_path: Path, person: Person, make_coco: MakeCoco, changes: dict[str, Any], said: str
) -> None:
    good, bad = (person(image, image, [100.0, 40.0, 50.0, 120.0]) for image in (1, 4))
    root = make_coco(tmp_path, [good, bad | changes])
    with pytest.raises(DataError) as error:
        read(root)
    assert f"person_keypoints_train2017.json: {said}" in str(error.value)


def number_as_name(root: Path) -> None:
    path = root / "annotations" / "person_keypoints_train2017.json"
    path.write_text(path.read_text().replace('"000000000004.jpg"', "4"))


def text_as_id(root: Path) -> None:
    path = root / "annotations" / "person_keypoints_train2017.json"
    path.write_text(path.read_text().replace('"id": 4, "file_name"', '"id": "four", "file_name"'))


def folder_as_file(root: Path) -> None:
    path = root / "annotations" / "person_keypoints_train2017.json"
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_file, "there is no"),
        (no_image, "000000000004.jpg"),
        (no_folder, "lacks val2017/"),
        (truncated, "no COCO annotation file"),
        (other_annotations, "person keypoints"),
        (escaping, "../secret.jpg"),
        (boxless, "annotations 4 lack"),
        (sizeless, "images 4 lack"),
        (nobody, "nobody with 5 joints"),
        (number_as_name, "images 4 need a whole number as id and text as file_name"),
        (text_as_id, "images four need a whole number as id and text as file_name"),
        (folder_as_file, "no COCO annotation file"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, person: Person, make_coco: MakeCoco, damage: Callable[[Path], None], said: str
) -> None:
    root = make_coco(tmp_path, [person(image, image, [100.0, 40.0, 50.0, 120.0]) for image in (1, 4)])
    damage(root)
    with pytest.raises(DataError) as error:
        read(root)
    assert said in str(error.value)
    assert str(root) in str(error.value)
