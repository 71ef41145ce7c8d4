"""Draws one person: body, clothing and belongings as capsules around the skeleton.

All lengths are shares of the stature, times the girth where a stouter person has more of it.
"""

from dataclasses import dataclass

import numpy as np

from reid.embedded.draw import Capsule, Floats, Paint, Surface, Wrap
from reid.embedded.people import LONG_HAIR, Person
from reid.embedded.skeleton import SIDES, Joints, Point, Pose, View, bend
from reid.embedded.textiles import PATTERN_MASKS, face, rgb, shade_of, side_seam, where

BACK = np.array([0.0, 0.0, -1.0])
UP = np.array([0.0, 1.0, 0.0])
LEFT = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A posed person in front of a canvas."""

    canvas: Surface
    person: Person
    joints: Joints  # body frame
    view: View
    owner: int

    def column(
        self,
        chart: str,
        start: Point,
        end: Point,
        start_size: tuple[float, float],
        end_size: tuple[float, float],
        paint: Paint,
        *,
        flat: bool = False,
        wrap: Wrap | None = None,
    ) -> None:
        """A capsule of elliptical section between two points of the body frame; sizes are (half width, half depth).

        What has a chart in common has its paint in common.
        """
        view = self.view
        across, towards = zip(*(_extents(size, view.yaw) for size in (start_size, end_size)), strict=True)
        capsule = Capsule(
            view.project(start),
            view.project(end),
            (view.scale * across[0], view.scale * across[1]),
            paint,
            owner=self.owner,
            chart=chart,
            yaw=view.yaw,
            thickness=towards[0] / across[0],
            flat=flat,
            wrap=wrap,
        )
        self.canvas.draw(capsule)

    def wrap(self, top: Point, bottom: Point, size: tuple[float, float]) -> Wrap:
        """Texture coordinates around a body part from `top` to `bottom`."""
        (x, top_y, _), (_, bottom_y, _) = self.view.project(top), self.view.project(bottom)
        return Wrap(centre_x=x, radius=self.view.scale * _extents(size, self.view.yaw)[0], top=top_y, bottom=bottom_y)


def _extents(size: tuple[float, float], yaw: float) -> tuple[float, float]:
    """Half extents of a turned ellipse across the image and towards the camera."""
    width, depth = size
    sin, cos = np.sin(yaw), np.cos(yaw)
    return float(np.hypot(width * cos, depth * sin)), float(np.hypot(width * sin, depth * cos))


def draw_person(canvas: Surface, person: Person, pose: Pose, view: View, *, owner: int) -> Joints:
    """Draws the person and returns its joints in the image frame, pixels of the final image."""
    joints = bend(person, pose)
    figure = Figure(canvas=canvas, person=person, joints=joints, view=view, owner=owner)
    _draw_legs(figure)
    _draw_trunk(figure)
    _draw_arms(figure)
    _draw_head(figure)
    _draw_belongings(figure)
    return {name: view.project(point) for name, point in joints.items()}


def _upper_paint(person: Person) -> Paint:
    base = shade_of(person.upper_colour, person.jitter)
    accent = shade_of(person.upper_accent)
    if person.open_jacket:
        return where(lambda a, f: np.abs(a) < 0.42, accent, base)
    mask = PATTERN_MASKS.get(person.pattern)
    return base if mask is None else where(mask, accent, base)


def _straps(person: Person, paint: Paint) -> Paint:
    """Adds the straps of what hangs from the shoulders."""
    if person.backpack:
        strap = shade_of(person.backpack)
        paint = where(lambda a, f: (np.abs(np.abs(a) - 0.62) < 0.17) & (f < 0.66), strap, paint)
    if person.bag:  # from the right shoulder to the left hip, in front and behind
        diagonal = shade_of(person.bag) * 0.8
        paint = where(lambda a, f: np.abs(np.sin(a) * 0.85 - (f - 0.45) * 1.8) < 0.2, diagonal, paint)
    return paint


def _draw_trunk(figure: Figure) -> None:
    person, joints, height = figure.person, figure.joints, figure.person.height
    girth = person.girth * height
    shoulders = (abs(joints["left_shoulder"][0]) + 0.012 * height, 0.058 * girth)
    waist = ((0.07 if person.female else 0.082) * girth, 0.06 * girth)
    hips = ((0.096 if person.female else 0.088) * girth, 0.066 * girth)
    top = joints["neck"] - 0.03 * height * UP
    hem = joints["pelvis"] + 0.005 * height * UP
    around = figure.wrap(top + 0.03 * height * UP, hem, shoulders)
    paint = _straps(person, _upper_paint(person))
    figure.column("trunk", top - 0.01 * height * UP, joints["waist"], shoulders, waist, paint, flat=True, wrap=around)
    figure.column("trunk", joints["waist"], hem, waist, hips, paint, flat=True, wrap=around)
    slope = 0.035 * height
    for side, sign in SIDES.items():
        tip = joints[f"{side}_shoulder"] - 0.01 * height * sign * LEFT
        figure.column("trunk", joints["neck"] - slope * UP, tip, (slope, slope), (slope, slope), paint, wrap=around)
    _draw_lower(figure, hips)
    skin = rgb(person.skin)
    size = (0.03 * girth, 0.03 * girth)
    figure.column("neck", joints["neck"] - 0.02 * height * UP, joints["chin"], size, size, skin)


def _draw_lower(figure: Figure, hips: tuple[float, float]) -> None:
    """The pelvis, and the skirt or the dress's lower half."""
    person, joints, height = figure.person, figure.joints, figure.person.height
    colour = _lower_shade(person)
    pelvis, crotch = joints["pelvis"] + 0.01 * height * UP, joints["pelvis"] - 0.05 * height * UP
    figure.column("pelvis", pelvis, crotch, hips, (0.72 * hips[0], 0.8 * hips[1]), colour, flat=True)
    if person.lower == "trousers":
        return
    knees = 0.5 * (joints["left_knee"] + joints["right_knee"])
    ankles = 0.5 * (joints["left_ankle"] + joints["right_ankle"])
    hem = 0.25 * knees + 0.75 * ankles if person.long_lower else 0.3 * joints["pelvis"] + 0.7 * knees
    spread = 0.5 * abs(joints["left_knee"][2] - joints["right_knee"][2])
    flare = (1.35 if person.long_lower else 1.25) * hips[0]
    paint: Paint = colour
    if person.lower == "dress" and person.pattern in ("hoops", "stripes", "checks"):
        paint = where(PATTERN_MASKS[person.pattern], shade_of(person.upper_accent), paint)
    figure.column("skirt", pelvis, hem, hips, (flare, max(flare * 0.85, spread + 0.04 * height)), paint, flat=True)


def _lower_shade(person: Person) -> Floats:
    return shade_of(person.lower_colour, person.jitter)


def _draw_legs(figure: Figure) -> None:
    person, joints = figure.person, figure.joints
    girth = person.height * (0.55 + 0.45 * person.girth)
    trousers = person.lower == "trousers"
    ease = 0.008 * girth if trousers else 0.0
    skin, cloth = rgb(person.skin), _lower_shade(person)
    shoe = shade_of(person.shoe_colour)
    for side, sign in SIDES.items():
        fabric = where(side_seam(sign), shade_of(person.upper_accent), cloth) if person.side_stripe else cloth
        thigh = fabric if trousers else skin
        shin = fabric if trousers and person.long_lower else skin
        shin_ease = ease if person.long_lower else 0.0
        hip, knee, ankle, toe = (joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "toe"))
        sizes = [(radius * girth + extra,) * 2 for radius, extra in ((0.05, ease), (0.034, ease))]
        figure.column(f"{side}_thigh", hip, knee, sizes[0], sizes[1], thigh)
        shin_sizes = [(radius * girth + shin_ease,) * 2 for radius in (0.034, 0.023)]
        figure.column(f"{side}_shin", knee, ankle, shin_sizes[0], shin_sizes[1], shin)
        figure.column(f"{side}_shoe", ankle - 0.016 * girth * UP, toe, (0.029 * girth,) * 2, (0.023 * girth,) * 2, shoe)


def _draw_arms(figure: Figure) -> None:
    person, joints = figure.person, figure.joints
    girth = person.height * (0.55 + 0.45 * person.girth)
    base = shade_of(person.upper_colour, person.jitter)
    sleeve: Paint = base
    if person.pattern == "hoops":
        sleeve = where(lambda a, f: (f * 2.4) % 1 < 0.42, shade_of(person.upper_accent), sleeve)
    if person.pattern == "yoke":
        sleeve = where(lambda a, f: f < 0.25, shade_of(person.upper_accent), sleeve)
    skin = rgb(person.skin)
    upper = sleeve if person.long_sleeves else where(lambda a, f: f > 0.62, skin, sleeve)
    lower = base if person.long_sleeves else skin
    ease = 0.005 * girth if person.long_sleeves else 0.0
    for side in SIDES:
        shoulder, elbow, wrist, hand = (joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand"))
        figure.column(
            f"{side}_upper_arm", shoulder, elbow, (0.034 * girth + ease,) * 2, (0.027 * girth + ease,) * 2, upper
        )
        figure.column(
            f"{side}_lower_arm", elbow, wrist, (0.027 * girth + ease,) * 2, (0.019 * girth + ease,) * 2, lower
        )
        figure.column(f"{side}_hand", wrist, hand, (0.021 * girth,) * 2, (0.018 * girth,) * 2, skin)


def _draw_head(figure: Figure) -> None:
    person, joints = figure.person, figure.joints
    chin, crown = joints["chin"], joints["crown"]
    unit = (joints["head"] - joints["neck"])[1] / 1.12
    hair = rgb(person.hair_colour)
    size = (0.62 * unit, 0.72 * unit)
    head = face(
        skin=rgb(person.skin),
        hair=hair,
        bald=person.hair == "bald",
        beard=person.beard,
        glasses=person.glasses,
    )
    wrap = figure.wrap(crown + 0.62 * unit * UP, chin - 0.5 * unit * UP, size)
    figure.column("head", chin, crown, (0.5 * unit, 0.55 * unit), size, head, wrap=wrap)
    if person.hair in LONG_HAIR:
        behind = joints["head"] + 0.3 * unit * BACK
        if person.hair == "long":
            tip = joints["neck"] - 0.75 * unit * UP + 0.95 * unit * BACK
            figure.column("hair", behind, tip, (0.78 * unit, 0.55 * unit), (0.82 * unit, 0.4 * unit), hair)
        else:
            knot = crown + 0.75 * unit * BACK
            tip = joints["neck"] - 0.5 * unit * UP + 1.0 * unit * BACK
            figure.column("hair", knot, tip, (0.36 * unit,) * 2, (0.22 * unit,) * 2, hair)
    if person.hat is not None:
        _draw_hat(figure, unit)


def _draw_hat(figure: Figure, unit: float) -> None:
    person, crown = figure.person, figure.joints["crown"]
    paint = shade_of(person.hat_colour)
    base = crown + 0.1 * unit * UP
    height = (0.3 if person.hat == "beanie" else 0.15) * unit
    figure.column("hat", base, base + height * UP, (0.76 * unit, 0.84 * unit), (0.62 * unit, 0.7 * unit), paint)
    brim_height = crown + 0.02 * unit * UP
    if person.hat == "cap":
        tip, size = brim_height - 0.9 * unit * BACK, (0.42 * unit, 0.2 * unit)
        figure.column("hat", tip + 0.25 * unit * BACK, tip, size, size, paint)
    if person.hat == "sunhat":
        for direction in (LEFT, -BACK):
            edge = 1.15 * unit * direction
            figure.column("hat", brim_height - edge, brim_height + edge, (0.2 * unit,) * 2, (0.2 * unit,) * 2, paint)


def _draw_belongings(figure: Figure) -> None:
    person, joints, height = figure.person, figure.joints, figure.person.height
    if person.backpack:
        behind = (0.062 * person.girth + 0.045) * height * BACK
        centre = 0.5 * (joints["chest"] + joints["waist"]) + 0.03 * height * UP + behind
        colour = shade_of(person.backpack)
        pocket = where(lambda a, f: np.abs(f - 0.55) < 0.05, colour * 0.6, colour)
        size = (0.088 * height, 0.05 * height)
        figure.column("backpack", centre + 0.045 * height * UP, centre - 0.055 * height * UP, size, size, pocket)
    if person.bag:
        hip = joints["left_hip"] + (0.062 * person.girth + 0.01) * height * LEFT - 0.005 * height * UP
        _draw_pouch(figure, "bag", hip, (0.035 * height, 0.078 * height), 0.1 * height, shade_of(person.bag))
    if person.handbag:
        hand, colour = joints["right_hand"], shade_of(person.handbag)
        _draw_pouch(
            figure, "handbag", hand - 0.085 * height * UP, (0.03 * height, 0.07 * height), 0.12 * height, colour
        )
        size = (0.01 * height,) * 2
        figure.column("handle", hand, hand - 0.04 * height * UP, size, size, colour * 0.7)


def _draw_pouch(
    figure: Figure, chart: str, centre: Point, size: tuple[float, float], height: float, colour: Floats
) -> None:
    """A box with a flap."""
    flap = where(lambda a, f: f < 0.3, colour * 0.72, colour)
    half = 0.5 * height * UP
    figure.column(chart, centre + half, centre - half, (size[0], size[1] * 0.9), size, flap, flat=True)
