"""A person's texture is what the drawing shows of it, from every side."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.config.atlas import mirrored_part
from reid.embedded.atlas import BACKGROUND, LAYOUT, Atlas, seen_texels, texture_of
from reid.embedded.draw import Canvas, Capsule, Floats, Light, Paint, Surface
from reid.embedded.figure import draw_person
from reid.embedded.people import Person, sample_person
from reid.embedded.skeleton import Pose, View, sample_pose

HEIGHT, WIDTH, SIDE = 128, 64, 256
UNSHADED = Light(direction=(0.0, 0.0, 1.0), ambient=1.0, diffuse=0.0)


def people(count: int, seed: int = 1) -> list[Person]:
    rng = np.random.default_rng(seed)
    return [sample_person(rng) for _ in range(count)]


def scene(person: Person, rng: np.random.Generator) -> tuple[Pose, View]:
    view = View(
        yaw=rng.uniform(0, 2 * np.pi),
        pitch=rng.uniform(0.1, 0.4),
        scale=110 / person.height,
        foot_x=WIDTH / 2 + rng.uniform(-6, 6),
        foot_y=122,
    )
    return sample_pose(rng, person), view


def mirrored_paint(paint: Paint) -> Paint:
    return paint if isinstance(paint, np.ndarray) else lambda azimuth, fall: paint(-azimuth, fall)


@dataclass(frozen=True)
class Mirror:
    """Draws on another surface what stands in front of the mirror: someone else, as the mirror shows them."""

    behind: Surface

    def draw(self, capsule: Capsule) -> None:
        assert capsule.chart is not None
        start, end = (np.array([WIDTH - x, y, z]) for x, y, z in (capsule.start, capsule.end))
        wrap = capsule.wrap and replace(capsule.wrap, centre_x=WIDTH - capsule.wrap.centre_x)
        mirrored = {"paint": mirrored_paint(capsule.paint), "chart": mirrored_part(capsule.chart), "yaw": -capsule.yaw}
        self.behind.draw(replace(capsule, start=start, end=end, wrap=wrap, **mirrored))


@dataclass(frozen=True)
class Paints:
    """Remembers what each chart is painted with."""

    by_chart: dict[str, Paint] = field(default_factory=dict)

    def draw(self, capsule: Capsule) -> None:
        assert capsule.chart is not None
        self.by_chart[capsule.chart] = capsule.paint


def test_pixels_painted_back_from_the_texture_are_the_drawing() -> None:
    rng = np.random.default_rng(2)
    good = total = 0
    for person in people(25):
        canvas = Canvas(HEIGHT, WIDTH, UNSHADED, locate=Atlas(SIDE).locate)
        draw_person(canvas, person, *scene(person, rng), owner=0)
        drawn = canvas.owner_HW == 0
        texels = canvas.texels(0)
        assert len(texels) == drawn.sum() > 4000
        painted = texture_of(person, SIDE).reshape(-1, 3)[texels].astype(int)
        good += int((np.abs(painted - canvas.colour_HW3[drawn]) <= 2).all(axis=1).sum())
        total += len(texels)
    assert good / total >= 0.98


def test_every_texel_is_the_paint_at_its_place() -> None:
    side = 64
    for person in people(4, seed=5):
        paints = Paints()
        draw_person(paints, person, *scene(person, np.random.default_rng(0)), owner=0)
        expected = np.full((side, side, 3), BACKGROUND, np.uint8)
        for chart, paint in paints.by_chart.items():
            rows, columns = (range(side)[part] for part in LAYOUT.charts[chart].texels(side))
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    azimuth = -np.pi + (j + 0.5) / len(columns) * 2 * np.pi
                    place = np.array([azimuth], np.float32), np.array([(i + 0.5) / len(rows)], np.float32)
                    expected[row, column] = paint if isinstance(paint, np.ndarray) else paint(*place)[0]
        differing = (texture_of(person, side) != expected).any(axis=2)
        assert differing.mean() < 0.002, "but for edges that rounding moves"


def test_the_mirrored_texture_is_the_texture_of_the_mirrored_person() -> None:
    for person in people(12, seed=3):
        mirrored = Atlas(SIDE)
        draw_person(Mirror(mirrored), person, *scene(person, np.random.default_rng(0)), owner=0)
        assert np.array_equal(np.flip(texture_of(person, SIDE), axis=1), mirrored.texture_SS3)


def test_the_mirrored_person_is_who_the_mirrored_image_shows() -> None:
    """So that image and texture are flipped alike: the texels, too, are those of the mirrored person."""
    rng, locate = np.random.default_rng(4), Atlas(SIDE).locate
    for person in people(6, seed=4):
        posed = scene(person, rng)
        canvas, mirrored = (Canvas(HEIGHT, WIDTH, UNSHADED, locate=locate) for _ in range(2))
        draw_person(canvas, person, *posed, owner=0)
        draw_person(Mirror(mirrored), person, *posed, owner=0)
        images = [np.flip(one.colour_HW3.reshape(2 * HEIGHT, -1, 3), axis=axis).astype(int)
                  for one, axis in ((canvas, 1), (mirrored, ()))]  # fmt: skip
        assert (np.abs(images[0] - images[1]).max(axis=2) <= 1).mean() > 0.99
        seen, seen_in_mirror = (seen_texels(one.texels(0), SIDE) for one in (canvas, mirrored))
        assert (np.flip(seen, axis=1) & seen_in_mirror).sum() > 0.8 * seen.sum()


def test_a_texture_is_no_mirror_image_of_itself() -> None:
    """Else the tests above would show nothing."""
    assert any((texture != np.flip(texture, axis=1)).any() for texture in (texture_of(p, SIDE) for p in people(12)))


def test_the_background_is_where_no_part_of_the_person_is() -> None:
    person = replace(people(1)[0], lower="trousers", hair="short", hat=None, backpack=None, bag=None, handbag=None)
    texture = texture_of(person, SIDE)
    absent = ("skirt", "hair", "hat", "backpack", "bag", "handbag", "handle")
    for name, chart in LAYOUT.charts.items():
        assert (texture[chart.texels(SIDE)] == BACKGROUND).all() == (name in absent)


def test_only_the_owner_s_texels_are_seen() -> None:
    canvas = Canvas(40, 40, UNSHADED, locate=Atlas(SIDE).locate)
    red = np.array((200, 0, 0), np.float32)

    def draw(x: float, z: float, owner: int, chart: str | None = None) -> None:
        start, end = np.array([x, 10, z]), np.array([x, 30, z])
        canvas.draw(Capsule(start, end, (8, 8), red, owner=owner, chart=chart, flat=True))

    draw(20, 0, 1, "trunk")
    rows, columns = LAYOUT.charts["trunk"].texels(SIDE)
    seen = seen_texels(canvas.texels(1), SIDE)
    assert set(np.flatnonzero(seen.any(axis=0))) <= set(range(SIDE)[columns])
    assert set(np.flatnonzero(seen.any(axis=1))) <= set(range(SIDE)[rows])
    middle = (columns.start + columns.stop) // 2
    assert seen[:, : middle - 33].sum() == seen[:, middle + 33 :].sum() == 0, "the front half"
    before = len(canvas.texels(1))
    draw(28, 20, 2, "trunk")  # another person hides a part
    assert before / 4 < len(canvas.texels(1)) < before * 3 / 4
    draw(20, 40, 3)  # a pole, which has no texture, hides all that was left
    assert not len(canvas.texels(1)) + len(canvas.texels(3))
    assert not seen_texels(canvas.texels(1), SIDE).any()


def test_what_lies_beyond_a_chart_shows_its_end() -> None:
    atlas = Atlas(SIDE)
    rows, columns = LAYOUT.charts["trunk"].texels(SIDE)
    places: Floats = np.array([-0.2, 0.0, 0.5, 1.0, 1.3], np.float32)
    for azimuth, column in (
        (-np.pi, columns.start),
        (np.pi, columns.stop - 1),
        (0.0, (columns.start + columns.stop) // 2),
    ):
        found: NDArray[np.int32] = atlas.locate("trunk", np.full(5, azimuth, np.float32), places)
        down, across = np.divmod(found, SIDE)
        assert (across == column).all()
        assert down.tolist() == [rows.start] * 2 + [(rows.start + rows.stop) // 2] + [rows.stop - 1] * 2


def test_a_side_that_cuts_charts_is_refused() -> None:
    with pytest.raises(ValueError, match="take a multiple of 32"):
        texture_of(people(1)[0], 100)
