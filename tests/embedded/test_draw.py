import numpy as np
import pytest

from reid.embedded.draw import Canvas, Capsule, Light
from reid.embedded.textiles import rgb, where

FRONTAL = Light(direction=(0.0, 0.0, 1.0), ambient=0.5, diffuse=0.5)
RED, BLUE = rgb((200, 0, 0)), rgb((0, 0, 200))


def point(x: float, y: float, z: float = 0.0) -> np.ndarray:
    return np.array([x, y, z])


def test_a_straight_capsule_covers_its_area_and_is_brightest_on_its_axis() -> None:
    canvas = Canvas(40, 40, FRONTAL)
    canvas.draw(Capsule(point(20, 10), point(20, 30), (5, 5), RED, owner=3))
    area = (canvas.owners() == 3).sum()
    assert area == pytest.approx(20 * 10 + np.pi * 25, rel=0.03)
    image = canvas.over(np.full((40, 40, 3), 9, np.uint8))
    assert image[20, 20, 0] > 190 > image[20, 16, 0] > 90
    assert (image[0, 0] == 9).all()


def test_flat_ends_are_cut_off() -> None:
    canvas = Canvas(40, 40, FRONTAL)
    canvas.draw(Capsule(point(20, 10), point(20, 30), (5, 5), RED, owner=0, flat=True))
    rows = np.flatnonzero((canvas.owners() == 0).any(axis=1))
    assert (rows[0], rows[-1]) == (10, 29)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_one_is_seen_whatever_is_drawn_first(order: tuple[int, int]) -> None:
    canvas = Canvas(40, 40, FRONTAL)
    colours, depths = (RED, BLUE), (10.0, -10.0)
    for owner in order:
        ends = point(20, 10, depths[owner]), point(20, 30, depths[owner])
        canvas.draw(Capsule(*ends, (4, 4), colours[owner], owner=owner))
    assert canvas.owners()[20, 20] == 0
    assert canvas.is_visible(point(20, 20, 10), owner=0, tolerance=5)
    assert not canvas.is_visible(point(20, 20, 0), owner=0, tolerance=5)
    assert not canvas.is_visible(point(20, 20, -10), owner=1, tolerance=5)
    assert not canvas.is_visible(point(60, 20, 10), owner=0, tolerance=5)


@pytest.mark.parametrize(("yaw", "is_marked"), [(0.0, True), (np.pi / 2, False), (np.pi, False), (2 * np.pi, True)])
def test_paint_turns_with_the_body(yaw: float, is_marked: bool) -> None:
    canvas = Canvas(40, 40, FRONTAL)
    front = where(lambda azimuth, fall: np.abs(azimuth) < 0.5, RED, BLUE)
    canvas.draw(Capsule(point(20, 10), point(20, 30), (8, 8), front, owner=0, yaw=yaw))
    middle = canvas.over(np.zeros((40, 40, 3), np.uint8))[20, 20]
    assert (middle[0] > middle[2]) == is_marked


def test_what_lies_outside_of_the_image_is_not_drawn() -> None:
    canvas = Canvas(10, 10, FRONTAL)
    canvas.draw(Capsule(point(-30, 5), point(-20, 5), (4, 4), RED, owner=0))
    canvas.draw(Capsule(point(5, 30), point(5, 40), (4, 4), RED, owner=0))
    assert (canvas.owners() == -1).all()
