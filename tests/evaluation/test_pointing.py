"""The pointing game, held against a plain loop over images, cells and joints."""

import math

import pytest
import torch
from torch import Tensor

from reid.config import JOINTS, LAYOUTS, LIMBS, Part
from reid.evaluation.pointing import ON_PART, judge_pointing

HEIGHT, WIDTH = 16, 8
DIAGONALS = [("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")]
FOREARM = Part(name="forearm", joints=("left_wrist",), limbs=("left_elbow-left_wrist",))
LONG = Part(name="long", limbs=("right_hip-right_knee",))
PARTS = {part.name: part for part in (*LAYOUTS["six_parts"].parts, FOREARM, LONG)}
UPRIGHT = {
    "nose": (32, 20), "neck": (32, 30), "right_shoulder": (22, 31), "right_elbow": (19, 46), "right_wrist": (17, 60),
    "left_shoulder": (42, 31), "left_elbow": (46, 45), "left_wrist": (49, 61), "right_hip": (26, 62),
    "right_knee": (26, 94), "right_ankle": (25, 116), "left_hip": (38, 62), "left_knee": (39, 85),
    "left_ankle": (41, 107), "right_eye": (30, 18), "left_eye": (34, 18), "right_ear": (27, 19), "left_ear": (37, 19),
}  # fmt: skip


def upright() -> Tensor:
    """A standing person in the middle of 64 × 128 pixels, (18, 3)."""
    return torch.tensor([[*UPRIGHT[joint], 2.0] for joint in JOINTS])


def looking_at(x: int, y: int) -> Tensor:
    """A map (1, h, w) that is strongest in one cell."""
    map_1hw = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    map_1hw[0, y, x] = 2
    return map_1hw


def looks_near(part: Part, subjects_BJ3: Tensor, generator: torch.Generator) -> Tensor:
    """Maps that are strongest somewhere about a part's joints, and between them."""
    joints = {*part.joints, *(end for start_end in LIMBS if "-".join(start_end) in part.limbs for end in start_end)}
    places_BP2 = subjects_BJ3[:, [JOINTS.index(joint) for joint in sorted(joints)], :2]
    maps = torch.rand(len(places_BP2), HEIGHT, WIDTH, generator=generator)
    for map_hw, places_P2 in zip(maps, places_BP2, strict=True):
        one, other = places_P2[torch.randint(len(places_P2), (2,), generator=generator)]
        x, y = ((one + (other - one) * torch.rand(1, generator=generator)) / 8).long().tolist()
        map_hw[min(max(y, 0), HEIGHT - 1), min(max(x, 0), WIDTH - 1)] = 2
    return maps


def by_loop(map_hw: list[list[float]], subject: dict[str, list[float]], part: Part) -> tuple[bool, bool]:
    """Whether an image is counted, and hit; a limb is walked in steps of a hundredth of its length."""
    known = {joint: (x, y) for joint, (x, y, visibility) in subject.items() if visibility}
    torso = max((math.dist(known[a], known[b]) for a, b in DIAGONALS if a in known and b in known), default=0.0)
    _, row, column = max((value, -y, -x) for y, line in enumerate(map_hw) for x, value in enumerate(line))
    centre = (8 * -column + 3.5, 8 * -row + 3.5)
    places = [known[joint] for joint in part.joints if joint in known]
    for start, end in LIMBS:
        if f"{start}-{end}" in part.limbs and start in known and end in known:
            (x, y), (to_x, to_y) = known[start], known[end]
            places += [(x + step * (to_x - x) / 100, y + step * (to_y - y) / 100) for step in range(101)]
    if not torso or not places:
        return False, False
    return True, min(math.dist(centre, place) for place in places) <= ON_PART * torso


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("seed", range(3))
def test_images_are_judged_as_by_the_loop(part: Part, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    people = upright().repeat(200, 2, 1, 1)
    people[..., :2] += 4 * torch.randn(200, 2, 18, 2, generator=generator)
    people[..., 2] = torch.randint(4, (200, 2, 18), generator=generator).clamp(max=2)
    people[:, 1, :, 2] = 2  # somebody else, of whom nothing is asked
    maps = looks_near(part, people[:, 0], generator)
    judged = judge_pointing(maps, people, part)
    subjects = [dict(zip(JOINTS, person[0], strict=True)) for person in people.tolist()]
    expected = [by_loop(map_hw, subject, part) for map_hw, subject in zip(maps.tolist(), subjects, strict=True)]
    assert judged.counted_B.tolist() == [counted for counted, _ in expected]
    assert judged.hit_B.tolist() == [hit for _, hit in expected]
    assert 0 < judged.counted_B.sum() < 200
    assert 0 < judged.hit_B.sum() < judged.counted_B.sum()


@pytest.mark.parametrize(
    ("part", "cell", "hit"),
    [
        (LONG, (3, 9), True),  # between hip and knee
        (LONG, (3, 7), True),  # at the hip
        (LONG, (3, 6), False),  # above it, in line with both
        (LONG, (3, 12), False),  # below the knee, in line
        (LONG, (4, 9), False),  # beside the thigh
        (FOREARM, (6, 7), True),  # at the wrist
        (FOREARM, (5, 7), False),
    ],
)
def test_a_cell_counts_on_a_limb_and_not_beyond_its_ends(part: Part, cell: tuple[int, int], hit: bool) -> None:
    judged = judge_pointing(looking_at(*cell), upright()[None, None], part)
    assert (judged.counted_B.item(), judged.hit_B.item()) == (True, hit)


def test_joints_that_are_not_labelled_do_not_count() -> None:
    person = upright()
    person[JOINTS.index("left_wrist"), 2] = 0
    judged = judge_pointing(looking_at(6, 7), person[None, None], FOREARM)
    assert not judged.counted_B.any(), "neither the wrist nor the limb that ends there"
    assert not judged.hit_B.any()
    person[JOINTS.index("left_wrist"), 2] = 1
    assert judge_pointing(looking_at(6, 7), person[None, None], FOREARM).hit_B.all(), "occluded joints count"


def test_nobody_without_a_torso_is_counted() -> None:
    person = upright()
    person[[JOINTS.index("left_hip"), JOINTS.index("right_hip")], 2] = 0
    judged = judge_pointing(looking_at(6, 7), person[None, None], FOREARM)
    assert not judged.counted_B.any()
    assert not judged.hit_B.any()
