import math

import pytest
import torch
from torch import Tensor

from reid.config import JOINTS, LIMBS
from reid.losses import OneRank, masked_squared_error, pose_targets

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


def test_nothing_known_is_an_attached_zero() -> None:
    maps = torch.ones(1, 2, 3, 3, requires_grad=True)
    loss = masked_squared_error([maps], torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.bool), OneRank())
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


def test_gradients() -> None:
    target = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    known = torch.tensor([[[True, False, True]] * 3])
    maps = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: masked_squared_error([x, 2 * x], target, known, OneRank()), maps)
