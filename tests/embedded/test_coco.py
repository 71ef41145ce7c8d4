import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from reid.embedded import SIZES
from reid.embedded.coco import ScenesTask, render_scenes
from reid.embedded.contact_sheet import keypoint_sheet
from reid.embedded.contours import mask_to_polygons, mask_to_rle

COUNTS = {"train2017": SIZES["smoke"].coco_train_images, "val2017": SIZES["smoke"].coco_val_images}


def load(root: Path, split: str) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(root / "annotations" / f"person_keypoints_{split}.json")


@pytest.mark.parametrize("split", COUNTS)
def test_images_are_where_the_annotation_file_says(coco: Path, split: str) -> None:
    images = load(coco, split).loadImgs(load(coco, split).getImgIds())
    assert len(images) == COUNTS[split]
    assert {image["file_name"] for image in images} == {path.name for path in (coco / split).iterdir()}
    for image in images:
        with Image.open(coco / split / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])


def test_image_ids_are_unique_across_splits(coco: Path) -> None:
    ids = [image_id for split in COUNTS for image_id in load(coco, split).getImgIds()]
    assert len(set(ids)) == len(ids)


def test_category_is_the_originals(coco: Path) -> None:
    (category,) = load(coco, "val2017").loadCats([1])
    assert category["name"] == "person"
    assert category["keypoints"][:5] == ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
    assert category["keypoints"][5::2] == [f"left_{n}" for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]
    assert category["keypoints"][6::2] == [f"right_{n}" for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]
    assert len(category["skeleton"]) == 19
    bones = {frozenset(category["keypoints"][end - 1] for end in bone) for bone in category["skeleton"]}
    assert frozenset({"left_hip", "left_knee"}) in bones
    assert frozenset({"nose", "left_eye"}) in bones


def test_annotations_are_consistent_with_themselves_and_the_images(coco: Path) -> None:
    dataset = load(coco, "train2017")
    annotations = dataset.loadAnns(dataset.getAnnIds())
    assert {annotation["iscrowd"] for annotation in annotations} == {0, 1}
    assert min(annotation["num_keypoints"] for annotation in annotations if not annotation["iscrowd"]) == 0
    seen = set()
    for annotation in annotations:
        image = dataset.imgs[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        assert 0 <= x < x + width <= image["width"]
        assert 0 <= y < y + height <= image["height"]
        mask = dataset.annToMask(annotation).astype(bool)
        rows, columns = np.nonzero(mask)
        assert abs(rows.min() - y) <= 1
        assert abs(columns.max() + 1 - (x + width)) <= 1
        assert mask.sum() == pytest.approx(annotation["area"], rel=0.15, abs=30)
        keypoints = np.array(annotation["keypoints"]).reshape(17, 3)
        assert annotation["num_keypoints"] == (keypoints[:, 2] > 0).sum()
        labelled = keypoints[keypoints[:, 2] > 0]
        assert (keypoints[keypoints[:, 2] == 0] == 0).all()
        assert ((labelled[:, :2] >= (x, y)) & (labelled[:, :2] <= (x + width, y + height))).all()
        seen |= set(labelled[:, 2])
    assert seen == {1, 2}


def test_seen_keypoints_lie_on_the_person_and_left_is_the_person_s_left(coco: Path) -> None:
    dataset = load(coco, "train2017")
    on_person, facing = [], []
    for annotation in dataset.loadAnns(dataset.getAnnIds(iscrowd=False)):
        mask = dataset.annToMask(annotation)
        keypoints = np.array(annotation["keypoints"]).reshape(17, 3)
        for x, y, visibility in keypoints:
            if visibility == 2:
                on_person.append(mask[int(y), int(x)])
        if (keypoints[[1, 2, 5, 6], 2] == 2).all():  # both eyes are seen: the person faces the camera
            facing.append(keypoints[5, 0] > keypoints[6, 0])
    assert np.mean(on_person) > 0.95
    assert len(facing) > 5
    assert np.mean(facing) > 0.9


def test_bytes_depend_on_neither_order_nor_chunks(coco: Path, tmp_path: Path) -> None:
    for split in COUNTS:
        (tmp_path / split).mkdir()
    for number in (35, 3, 17):
        task = ScenesTask(root=str(tmp_path), seed=0, split="train2017", numbers=(number,))
        (record,) = render_scenes(task)
        name = f"train2017/{number:012d}.jpg"
        assert (tmp_path / name).read_bytes() == (coco / name).read_bytes()
        dataset = load(coco, "train2017")
        stored = [dataset.anns[key] | {"id": 0} for key in dataset.getAnnIds(imgIds=[record.image["id"]])]
        assert json.loads(json.dumps([annotation | {"id": 0} for annotation in record.annotations])) == stored


def test_another_seed_gives_other_scenes(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    render_scenes(ScenesTask(root=str(tmp_path), seed=1, split="val2017", numbers=(1,)))
    name = "val2017/000000000001.jpg"
    assert (tmp_path / name).read_bytes() != (coco / name).read_bytes()


def test_keypoint_sheet_draws_the_annotations(coco: Path) -> None:
    sheet = np.asarray(keypoint_sheet(coco, scenes=4, columns=2))
    assert sheet.shape == (2 * 258 + 2, 2 * 258 + 2, 3)
    content = json.loads((coco / "annotations" / "person_keypoints_val2017.json").read_text())
    first = content["images"][0]
    with Image.open(coco / "val2017" / first["file_name"]) as picture:
        plain = np.asarray(picture)
    assert (sheet[2 : 2 + first["height"], 2 : 2 + first["width"]] != plain).any()


class TestContours:
    def test_the_outline_encloses_exactly_the_pixels(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(20):
            mask = np.zeros((12, 15), bool)
            for top, left in rng.integers(0, 9, (3, 2)):
                mask[top : top + 3, left : left + 4] = True
            filled = np.zeros_like(mask)
            for polygon in mask_to_polygons(mask):
                x, y = np.array(polygon).reshape(-1, 2).T
                for row, column in np.ndindex(*mask.shape):  # even-odd rule at the pixel's centre
                    above = (y > row + 0.5) != (np.roll(y, -1) > row + 0.5)
                    filled[row, column] |= bool((above & (x > column + 0.5)).sum() % 2)
            holes = filled & ~mask
            assert (filled | ~mask).all()
            assert holes.sum() == 0 or _is_enclosed(holes, mask)

    def test_run_lengths_decode_to_the_mask(self) -> None:
        for seed in range(10):
            mask = np.random.default_rng(seed).random((7, 9)) < 0.4
            mask[0, 0] = seed % 2 == 0
            encoded = coco_mask.frPyObjects(mask_to_rle(mask), *mask.shape)
            np.testing.assert_array_equal(coco_mask.decode(encoded), mask)


def _is_enclosed(holes: np.ndarray, mask: np.ndarray) -> bool:
    """Whether no hole is connected to the border through unmasked pixels."""
    outside = np.pad(np.zeros_like(mask), 1, constant_values=True)
    free = np.pad(~mask, 1, constant_values=True)
    for _ in range(mask.size):
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        outside = grown & free
    return not (outside[1:-1, 1:-1] & holes).any()
