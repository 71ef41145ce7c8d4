import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from reid.config import JOINTS, LIMBS, DataConfig, load_config
from reid.data import PoseBatch, PoseBatches, prepare
from reid.losses import OneRank, masked_squared_error, pose_targets
from reid.models import Output, PoseMaps
from reid.stages.fgsam import pose_loss

HEIGHT, WIDTH = 7, 5


def _people(*shape: int) -> Tensor:
    """Joints in and around the image, a third of them unlabelled."""
    generator = torch.Generator().manual_seed(0)
    xy = torch.rand(*shape, 18, 2, generator=generator, dtype=torch.float64) * torch.tensor([56.0, 72.0]) - 8
    visibility = torch.randint(3, (*shape, 18, 1), generator=generator)
    return torch.cat((xy, visibility.double()), dim=-1)


def _confidence_at(people: list[list[list[float]]], joint: int, x: int, y: int, sigma: float) -> float:
    highest = 0.0
    for person in people:
        px, py, visible = person[joint]
        if visible > 0:
            squared = ((8 * x + 3.5 - px) ** 2 + (8 * y + 3.5 - py) ** 2) / 64
            highest = max(highest, math.exp(-squared / sigma**2))
    return highest


def _affinity_at(
    people: list[list[list[float]]], limb: tuple[str, str], x: int, y: int, reach: float
) -> tuple[float, float]:
    found = []
    for person in people:
        (ax, ay, a_visible), (bx, by, b_visible) = (person[JOINTS.index(end)] for end in limb)
        length = math.dist((ax, ay), (bx, by))
        if a_visible == 0 or b_visible == 0 or length == 0:
            continue
        ux, uy = (bx - ax) / length, (by - ay) / length
        px, py = 8 * x + 3.5 - ax, 8 * y + 3.5 - ay
        along = min(max(px * ux + py * uy, 0), length)
        if math.hypot(px - along * ux, py - along * uy) <= 8 * reach:
            found.append((ux, uy))
    return tuple(sum(u[axis] for u in found) / max(len(found), 1) for axis in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize(("sigma", "reach"), [(0.875, 1.0), (2.0, 1.7)])
def test_targets_equal_the_loops(sigma: float, reach: float) -> None:
    people_BMJ3 = _people(2, 3)
    people_BMJ3[1, 2, :, 2] = 0  # nobody
    people_BMJ3[0, 1] = people_BMJ3[0, 0] + torch.tensor([3.0, 2.0, 0.0])  # overlapping people
    people_BMJ3[0, 2, JOINTS.index("neck")] = people_BMJ3[0, 2, JOINTS.index("nose")]  # a limb without length
    maps = pose_targets(people_BMJ3, HEIGHT, WIDTH, sigma=sigma, limb_width=reach)
    assert maps.confidence_BJhw.shape == (2, 19, HEIGHT, WIDTH)
    assert maps.affinity_BLhw.shape == (2, 38, HEIGHT, WIDTH)
    for image, people in enumerate(people_BMJ3.tolist()):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                joints = [_confidence_at(people, joint, x, y, sigma) for joint in range(18)]
                expected = torch.tensor([*joints, 1 - max(joints)], dtype=torch.float64)
                torch.testing.assert_close(maps.confidence_BJhw[image, :, y, x], expected)
                fields = [component for limb in LIMBS for component in _affinity_at(people, limb, x, y, reach)]
                torch.testing.assert_close(maps.affinity_BLhw[image, :, y, x], torch.tensor(fields).double())


SOURCE = (200, 300)
"""Height and width of a photograph; in 128 × 64 pixels it lies between bars of 128 × 64 / 300 · 200 pixels."""
SCALE, BAR = 64 / 300, 200
OTHERS = {"no joints": [270.0, 140.0, 25.0, 50.0], "the ninth": [5.0, 3.0, 20.0, 33.0], "a crowd": [120, 2, 60, 20]}
"""Boxes of people to be ignored; no edge lies near one of a map's cells, which are 37.5 source pixels wide."""


def _photograph(folder: Path) -> list[list[list[float]]]:
    """One COCO image of eight people with joints and of `OTHERS`; returns the eight's joints in pixels of the image."""
    generator = torch.Generator().manual_seed(1)
    names = [joint for joint in JOINTS if joint != "neck"]
    people, annotations = [], []
    for number in range(9):
        box = OTHERS["the ninth"] if number == 8 else [20.0 * number, 20.0, 60.0, 170.0 - 5 * number]
        xy = torch.rand(17, 2, generator=generator) * torch.tensor(box[2:]) + torch.tensor(box[:2])
        visible = (torch.rand(17, 1, generator=generator) > 0.3) * 2
        keypoints = torch.cat((xy * (visible > 0), visible), dim=1).tolist()
        annotations.append({"bbox": box, "num_keypoints": sum(v > 0 for *_, v in keypoints), "keypoints": keypoints})
        joints = dict(zip(names, keypoints, strict=True))
        left, right = joints["left_shoulder"], joints["right_shoulder"]
        joints["neck"] = [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2, min(left[2], right[2])]
        people.append([joints[joint] for joint in JOINTS])
    for kind in ("no joints", "a crowd"):
        annotations.append({"bbox": OTHERS[kind], "num_keypoints": 0, "keypoints": [[0, 0, 0]] * 17})
    for number, annotation in enumerate(annotations):
        x, y, width, height = annotation["bbox"]
        annotation |= {"id": number, "image_id": 1, "category_id": 1, "iscrowd": int(annotation["bbox"][3] == 20)}
        annotation["keypoints"] = [value for joint in annotation["keypoints"] for value in joint]
        annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (folder / split).mkdir()
        Image.new("RGB", SOURCE[::-1], "grey").save(folder / split / "1.jpg")
        content = {
            "images": [{"id": 1, "file_name": "1.jpg", "height": SOURCE[0], "width": SOURCE[1]}],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": []}],
        }
        (folder / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))
    return people[:8]


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[list[float]]], PoseBatch]:
    """The joints of eight people in pixels of the model's input, and the batch that was read, prepared and loaded."""
    folder = tmp_path_factory.mktemp("photograph")
    people = _photograph(folder / "coco")
    dataset = prepare("coco_whole", folder / "coco", folder / "store", height=128, width=64)
    batch = PoseBatches(dataset, "val", DataConfig(height=128, width=64), device="cpu").validation([0])
    fitted = [[[(x + 0.5) * SCALE - 0.5, (y + 0.5 + BAR) * SCALE - 0.5, v] for x, y, v in joints] for joints in people]
    return fitted, batch


def test_targets_of_a_whole_image_equal_the_loops_over_its_annotation(
    photograph: tuple[list[list[list[float]]], PoseBatch],
) -> None:
    people, batch = photograph
    maps = pose_targets(batch.keypoints_BMJ3, 16, 8)
    several = 0
    for y in range(16):
        for x in range(8):
            joints = [_confidence_at(people, joint, x, y, sigma=0.875) for joint in range(18)]
            expected = torch.tensor([*joints, 1 - max(joints)])
            torch.testing.assert_close(maps.confidence_BJhw[0, :, y, x], expected, rtol=0, atol=1e-4)
            fields = [component for limb in LIMBS for component in _affinity_at(people, limb, x, y, reach=1.0)]
            torch.testing.assert_close(maps.affinity_BLhw[0, :, y, x], torch.tensor(fields), rtol=0, atol=1e-4)
            alone = [[_affinity_at([person], LIMBS[6], x, y, reach=1.0)] for person in people]
            several += sum(field != [(0, 0)] for field in alone) > 1
    assert several > 0, "limbs of different people meet"


def test_people_of_a_whole_image_who_are_not_annotated_teach_nothing(
    photograph: tuple[list[list[list[float]]], PoseBatch],
) -> None:
    _, batch = photograph
    for y in range(16):
        for x in range(8):
            left, top = 8 * x / SCALE, 8 * y / SCALE - BAR
            touches = [
                box[0] < left + 8 / SCALE
                and box[1] < top + 8 / SCALE
                and box[0] + box[2] > left
                and box[1] + box[3] > top
                for box in OTHERS.values()
            ]
            assert batch.ignore_BHW[0, y, x] == any(touches), (x, y)
    target = pose_targets(batch.keypoints_BMJ3, 16, 8)
    ignored_B1HW = batch.ignore_BHW[:, None]
    for wrong_B1HW, costs in ((ignored_B1HW, False), (~ignored_B1HW, True)):
        seen = PoseMaps(
            confidence_BJhw=target.confidence_BJhw + wrong_B1HW, affinity_BLhw=target.affinity_BLhw - 3.0 * wrong_B1HW
        )
        terms = pose_loss(Output(pose=(seen,)), batch, load_config(preset="smoke"), OneRank())
        assert [term.item() > 0 for term in terms.values()] == [costs, costs]


def test_a_joint_at_a_cells_centre_peaks_there() -> None:
    person = torch.zeros(1, 1, 18, 3)
    person[0, 0, 4] = torch.tensor([8 * 2 + 3.5, 8 * 3 + 3.5, 1])
    peak = pose_targets(person, HEIGHT, WIDTH).confidence_BJhw[0, 4]
    assert peak[3, 2] == 1
    assert peak.argmax() == 3 * WIDTH + 2


def test_an_image_without_people_is_background() -> None:
    for people in (torch.zeros(2, 0, 18, 3), torch.zeros(2, 3, 18, 3)):
        maps = pose_targets(people, HEIGHT, WIDTH)
        assert torch.equal(maps.confidence_BJhw[:, 18], torch.ones(2, HEIGHT, WIDTH))
        assert not maps.confidence_BJhw[:, :18].any()
        assert not maps.affinity_BLhw.any()


def test_autocast_does_not_reach_the_targets() -> None:
    people = _people(1, 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = pose_targets(people, HEIGHT, WIDTH)
    assert torch.equal(inside.channels(), pose_targets(people, HEIGHT, WIDTH).channels())


def _error_by_loops(stages: list[Tensor], target: Tensor, known: Tensor) -> float:
    total, cells = 0.0, 0
    for image, y, x in torch.ones_like(known).nonzero().tolist():
        if known[image, y, x]:
            cells += 1
            for maps in stages:
                for channel in range(maps.shape[1]):
                    total += (maps[image, channel, y, x].item() - target[image, channel, y, x].item()) ** 2
    return total / max(cells, 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_masked_error_equals_the_loops(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 2, 3, 4, 5, generator=generator, dtype=dtype)
    stages, target = list(maps[:3]), maps[3]
    known = torch.rand(2, 4, 5, generator=generator) > 0.4
    loss = masked_squared_error(stages, target, known, OneRank())
    assert loss.item() == pytest.approx(_error_by_loops(stages, target, known), rel=tolerance)


def test_ignored_cells_have_no_gradient_even_where_the_map_is_not_finite() -> None:
    maps = torch.zeros(1, 2, 3, 3, requires_grad=True)
    spoilt = maps.clone()
    spoilt[0, 0, 1, 1] = torch.inf
    known = torch.ones(1, 3, 3, dtype=torch.bool)
    known[0, 1, 1] = False
    masked_squared_error([spoilt], torch.ones(1, 2, 3, 3), known, OneRank()).backward()
    assert torch.equal(maps.grad[0, 0] != 0, known[0])
