"""What the specification says is what is drawn."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.embedded.draw import Canvas, Light
from reid.embedded.figure import draw_person
from reid.embedded.market_attributes import FIELDS, attributes_of
from reid.embedded.people import (
    DETAILS,
    LOWER_WEIGHTS,
    PALETTE,
    PATTERNS,
    UPPER_WEIGHTS,
    Person,
    sample_person,
    sample_population,
)
from reid.embedded.skeleton import Limb, Pose, View

ARM = Limb(swing=0.0, abduction=0.25, elbow=0.1)
STANDING = Pose(phase=0.5, stride=0.3, lean=0.0, left_arm=ARM, right_arm=ARM)


def draw(person: Person, yaw: float, tall: float = 115.0) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float64]]]:
    canvas = Canvas(128, 64, Light(direction=(0.0, 0.0, 1.0)))
    view = View(yaw=yaw, pitch=0.1, scale=tall / person.height, foot_x=32, foot_y=122)
    joints = draw_person(canvas, person, STANDING, view, owner=0)
    return canvas.over(np.zeros((128, 64, 3), np.uint8)), joints


def visible_change(one: Person, other: Person) -> int:
    """Pixels that differ clearly, from the side where most do."""
    views = (0.0, np.pi / 2, np.pi, -np.pi / 2)
    pairs = [(draw(one, yaw)[0].astype(int), draw(other, yaw)[0].astype(int)) for yaw in views]
    return max(int((np.abs(a - b).max(axis=2) > 30).sum()) for a, b in pairs)


@pytest.fixture
def somebody() -> Person:
    return replace(
        sample_person(np.random.default_rng(5)),
        female=False,
        age=3,
        hair="short",
        upper_colour="red",
        upper_accent="white",
        pattern="plain",
        open_jacket=False,
        long_sleeves=True,
        lower="trousers",
        lower_colour="blue",
        long_lower=True,
        jitter=(0, 0, 0),
        hat=None,
        backpack=None,
        bag=None,
        handbag=None,
    )


@pytest.mark.parametrize("detail", DETAILS)
def test_every_detail_that_tells_look_alikes_apart_can_be_seen(detail: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(6):
        person = sample_person(rng)
        changed = DETAILS[detail](rng, person)
        assert changed != person
        assert visible_change(person, changed) >= 25, (detail, person)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("hat", {"hat": "cap"}),
        ("backpack", {"backpack": "yellow"}),
        ("bag", {"bag": "yellow"}),
        ("handbag", {"handbag": "yellow"}),
        ("up", {"long_sleeves": False}),
        ("down", {"long_lower": False}),
        ("clothes", {"lower": "skirt"}),
        ("hair", {"hair": "long"}),
        ("gender", {"female": True}),
    ],
)
def test_each_attribute_follows_what_is_drawn(somebody: Person, field: str, change: dict[str, object]) -> None:
    other = replace(somebody, **change)  # type: ignore[arg-type]
    before, after = attributes_of(somebody), attributes_of(other)
    assert {name for name in before if before[name] != after[name]} == {field}
    assert {before[field], after[field]} == {1, 2}
    assert visible_change(somebody, other) >= 25


def test_the_original_codes_of_a_known_person(somebody: Person) -> None:
    twos = {name for name, value in attributes_of(somebody).items() if value == 2}
    assert twos == {"clothes", "upred", "downblue"}
    assert attributes_of(somebody)["age"] == 3


@pytest.mark.parametrize("colour", UPPER_WEIGHTS)
def test_the_chest_is_drawn_in_the_upper_colour(somebody: Person, colour: str) -> None:
    image, joints = draw(replace(somebody, upper_colour=colour), yaw=0.0)
    x, y = joints["chest"][:2].astype(int)
    assert nearest_colour(image[y, x], UPPER_WEIGHTS) == colour


@pytest.mark.parametrize("colour", LOWER_WEIGHTS)
def test_the_thighs_are_drawn_in_the_lower_colour(somebody: Person, colour: str) -> None:
    image, joints = draw(replace(somebody, lower_colour=colour), yaw=0.0)
    x, y = (0.5 * (joints["left_hip"] + joints["left_knee"]))[:2].astype(int)
    assert nearest_colour(image[y, x], LOWER_WEIGHTS) == colour


def nearest_colour(pixel: NDArray[np.uint8], names: dict[str, int]) -> str:
    return min(names, key=lambda name: np.abs(np.array(PALETTE[name]) - pixel.astype(int)).sum())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_without_a_dominant_colour_have_no_colour_attribute(somebody: Person, pattern: str) -> None:
    values = attributes_of(replace(somebody, pattern=pattern))
    named = [field for field in FIELDS["test"] if field.startswith("up") and field != "up" and values[field] == 2]
    assert named == ([] if pattern in ("checks", "halves") else ["upred"])


def test_colours_outside_the_originals_list_have_no_colour_attribute(somebody: Person) -> None:
    values = attributes_of(replace(somebody, upper_colour="orange", lower_colour="red"))
    assert not [f for f, v in values.items() if v == 2 and f.startswith(("up", "down")) and f not in ("up", "down")]


def test_the_face_is_seen_from_the_front_only(somebody: Person) -> None:
    def skin_pixels(yaw: float) -> int:
        image, joints = draw(somebody, yaw)
        head = image[: int(joints["chin"][1]), :].astype(int)
        return int((np.abs(head - np.array(somebody.skin)).max(axis=2) < 40).sum())

    assert skin_pixels(0.0) > 3 * skin_pixels(np.pi)


def test_most_identities_have_look_alikes_who_differ_in_a_detail_or_few() -> None:
    people = sample_population(np.random.default_rng(0), 200)
    assert len(set(people)) == 200
    shared = ("female", "age", "height", "girth", "skin", "upper_colour", "lower_colour", "jitter", "lower")
    groups: dict[tuple[object, ...], list[Person]] = defaultdict(list)
    for person in people:
        groups[tuple(getattr(person, field) for field in shared)].append(person)
    assert {len(group) for group in groups.values()} == {1, 2, 3, 4}
    assert sum(len(group) for group in groups.values() if len(group) > 1) > 0.8 * 200
    one_detail = 0
    for first, *others in groups.values():
        differing = [{field for field in vars(first) if vars(first)[field] != vars(other)[field]} for other in others]
        one_detail += sum(len(fields - {"hat_colour", "open_jacket"}) == 1 for fields in differing)
        assert all(fields and not fields & set(shared) for fields in differing)
    assert one_detail > 0.25 * 200
