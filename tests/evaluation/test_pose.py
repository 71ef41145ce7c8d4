import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.config import JOINTS
from reid.evaluation.pose import judge_joints, locate_joints, pck_by_joint
from reid.losses import pose_targets

HEIGHT, WIDTH = 16, 8
NECK, RIGHT_WRIST = JOINTS.index("neck"), JOINTS.index("right_wrist")
DIAGONALS = [(JOINTS.index("left_shoulder"), JOINTS.index("right_hip")),
             (JOINTS.index("right_shoulder"), JOINTS.index("left_hip"))]  # fmt: skip
UPRIGHT = {
    "nose": (32, 20), "neck": (32, 30), "right_shoulder": (22, 31), "right_elbow": (19, 46), "right_wrist": (17, 60),
    "left_shoulder": (42, 31), "left_elbow": (46, 45), "left_wrist": (49, 61), "right_hip": (26, 62),
    "right_knee": (26, 84), "right_ankle": (25, 106), "left_hip": (38, 62), "left_knee": (39, 85),
    "left_ankle": (41, 107), "right_eye": (30, 18), "left_eye": (34, 18), "right_ear": (27, 19), "left_ear": (37, 19),
}  # fmt: skip


def upright(dx: float = 0.0, dy: float = 0.0) -> Tensor:
    """A standing person in the middle of 64 × 128 pixels, moved, (18, 3)."""
    return torch.tensor([[UPRIGHT[joint][0] + dx, UPRIGHT[joint][1] + dy, 2.0] for joint in JOINTS])


def maps_of(people_MJ3: Tensor) -> Tensor:
    return pose_targets(people_MJ3[None], HEIGHT, WIDTH).confidence_BJhw


def by_loops(
    maps: list[list[list[list[float]]]], people: list[list[list[list[float]]]]
) -> tuple[list[list[bool]], list[list[bool]], list[list[tuple[float, float] | None]]]:
    """Correct, counted and found joints, cell by cell."""
    correct, counted, places = [], [], []
    for image, (subject, *_) in enumerate(people):
        lengths = [math.dist(subject[a][:2], subject[b][:2]) for a, b in DIAGONALS if subject[a][2] and subject[b][2]]
        torso = max(lengths, default=0.0)
        xs, ys = ([joint[axis] for joint in subject if joint[2]] for axis in (0, 1))
        correct.append([False] * 18)
        counted.append([False] * 18)
        places.append([None] * 18)
        for joint, (true_x, true_y, visibility) in enumerate(subject):
            if torso == 0 or visibility == 0:
                continue
            best = None
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    touched = all(
                        8 * cell - 0.5 <= max(values) + torso / 2 and 8 * cell + 7.5 >= min(values) - torso / 2
                        for cell, values in ((x, xs), (y, ys))
                    )
                    if not touched or (someone_nearer(people[image], joint, x, y) and not holds(subject[joint], x, y)):
                        continue
                    if best is None or (maps[image][joint][y][x] > maps[image][joint][best[1]][best[0]]):
                        best = (x, y)
            assert best is not None
            x, y = best
            row, column = maps[image][joint][y], [line[x] for line in maps[image][joint]]
            found_x, found_y = (
                8 * (cell + top_of_parabola(values, cell)) + 3.5 for cell, values in ((x, row), (y, column))
            )
            places[-1][joint] = (found_x, found_y)
            counted[-1][joint] = True
            correct[-1][joint] = math.hypot(found_x - true_x, found_y - true_y) <= 0.2 * torso
    return correct, counted, places


def someone_nearer(people: list[list[list[float]]], joint: int, x: int, y: int) -> bool:
    centre = (8 * x + 3.5, 8 * y + 3.5)
    ways = [math.dist(person[joint][:2], centre) for person in people if person[joint][2]]
    return min(ways) < math.dist(people[0][joint][:2], centre)


def holds(joint: list[float], x: int, y: int) -> bool:
    return abs(joint[0] - 8 * x - 3.5) <= 4 and abs(joint[1] - 8 * y - 3.5) <= 4


def top_of_parabola(values: list[float], at: int) -> float:
    if at in (0, len(values) - 1):
        return 0.0
    a = (values[at - 1] + values[at + 1]) / 2 - values[at]
    b = (values[at + 1] - values[at - 1]) / 2
    return min(max(-b / (2 * a), -0.5), 0.5) if a < 0 else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_joints_are_judged_as_by_the_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    people = upright().repeat(6, 3, 1, 1)
    people[..., :2] += 6 * torch.randn(6, 3, 18, 2, generator=generator)
    people[..., 2] = torch.randint(3, (6, 3, 18), generator=generator)
    people[4, 0, [a for a, _ in DIAGONALS], 2] = 0  # no torso
    people[5, 0, :, 2] = 0  # nobody
    maps = pose_targets(people + 3 * torch.randn(people.shape, generator=generator), HEIGHT, WIDTH).confidence_BJhw
    maps = maps + 0.2 * torch.randn(maps.shape, generator=generator)
    judged = judge_joints(maps, people)
    correct, counted, places = by_loops(maps.tolist(), people.tolist())
    assert judged.counted_BJ.tolist() == counted
    assert judged.correct_BJ.tolist() == correct
    assert 0 < judged.correct_BJ.sum() < judged.counted_BJ.sum()
    for image, joint in judged.counted_BJ.nonzero().tolist():
        assert judged.found_BJ2[image, joint].tolist() == pytest.approx(places[image][joint], abs=1e-3)


def test_perfect_maps_are_all_correct() -> None:
    judged = judge_joints(maps_of(upright()[None]), upright()[None, None])
    assert judged.counted_BJ.all()
    assert judged.correct_BJ.all()


@settings(max_examples=50, deadline=None)
@given(x=st.floats(8, 55), y=st.floats(8, 119))
def test_a_peak_is_found_between_the_cells(x: float, y: float) -> None:
    person = torch.zeros(1, 18, 3)
    person[0, 4] = torch.tensor([x, y, 2])
    everywhere = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    found = locate_joints(maps_of(person), everywhere)[0, 4]
    assert found.tolist() == pytest.approx([x, y], abs=1.05), "an eighth of a cell: the peak is no parabola"


@pytest.mark.parametrize(
    ("dx", "dy", "near"), [(8, 0, True), (0, -8, True), (8, 8, True), (-16, 0, False), (8, 16, False)]
)
def test_maps_moved_by_whole_cells_give_what_geometry_says(dx: int, dy: int, near: bool) -> None:
    person = upright()
    person[:, :2] = (person[:, :2] / 4).round() * 8 + 3.5  # twice as large, at centres of cells: found exactly
    torso = max(math.dist(person[a, :2], person[b, :2]) for a, b in DIAGONALS)
    assert 12 < 0.2 * torso < 16
    moved = person + torch.tensor([dx, dy, 0])
    judged = judge_joints(pose_targets(moved[None, None], 32, 16).confidence_BJhw, person[None, None])
    torch.testing.assert_close(judged.found_BJ2[0], moved[:, :2])
    assert judged.counted_BJ.all()
    assert (judged.correct_BJ == near).all()


def test_only_the_subject_s_joints_are_sought_and_only_near_it() -> None:
    subject, other = upright(-16, 0), upright(160, 0)
    wide = torch.stack([subject, other])
    maps = pose_targets(wide[None], HEIGHT, 32).confidence_BJhw
    maps[0, :, :, 16:] *= 5  # the other one is seen more clearly
    assert judge_joints(maps, wide[None]).correct_BJ.all()
    assert judge_joints(maps, wide.flip(0)[None]).correct_BJ.all()
    for joint in (NECK, RIGHT_WRIST):
        maps[0, joint, :, :16] = 0
    missed = (~judge_joints(maps, wide[None]).correct_BJ[0]).nonzero().flatten().tolist()
    assert missed == [NECK, RIGHT_WRIST]


@pytest.mark.parametrize("way", [(16, 0), (0, -16), (14, 10)])
def test_people_who_stand_together_are_told_apart(way: tuple[float, float]) -> None:
    people = torch.stack([upright(30, 40), upright(30 + way[0], 40 + way[1])])
    maps = pose_targets(people[None], 32, 16).confidence_BJhw
    for subject_first in (people, people.flip(0)):
        assert judge_joints(maps, subject_first[None]).correct_BJ.all()


def test_two_joints_at_the_edge_within_one_cell_are_still_sought() -> None:
    people = torch.stack([upright(), upright()])
    people[:, RIGHT_WRIST, 0] = torch.tensor([0.0, 2.0])  # every cell's centre is nearer to the other's
    judged = judge_joints(maps_of(people), people[None])
    assert judged.found_BJ2[0, RIGHT_WRIST].tolist() == pytest.approx([3.5, 60.0], abs=1.05)


@pytest.mark.parametrize("unlabelled", [("left_shoulder",), ("right_hip",), ("left_hip",)])
def test_one_diagonal_of_the_torso_suffices(unlabelled: tuple[str, ...]) -> None:
    subject = upright()
    subject[[JOINTS.index(joint) for joint in unlabelled], 2] = 0
    judged = judge_joints(maps_of(upright()[None]), subject[None, None])
    assert judged.counted_BJ[0].tolist() == [joint not in unlabelled for joint in JOINTS]
    assert torch.equal(judged.correct_BJ, judged.counted_BJ)


def test_half_precision_maps_are_judged_in_single() -> None:
    maps = maps_of(upright()[None])
    judged = judge_joints(maps.bfloat16(), upright()[None, None])
    assert judged.found_BJ2.dtype == torch.float32
    assert judged.correct_BJ.all()


def test_maps_that_are_no_numbers_are_wrong() -> None:
    judged = judge_joints(torch.full((1, 19, HEIGHT, WIDTH), torch.nan), upright()[None, None])
    assert judged.counted_BJ.all()
    assert not judged.correct_BJ.any()


def test_pck_leaves_out_joints_that_were_never_counted() -> None:
    correct, counted = torch.zeros(18, dtype=torch.int64), torch.zeros(18, dtype=torch.int64)
    correct[NECK], counted[NECK], counted[RIGHT_WRIST] = 3, 4, 2
    assert pck_by_joint(correct, counted) == {"neck": 0.75, "right_wrist": 0.0}
