"""Procedural backgrounds, one kind for each camera, and the things that stand in front of people."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from reid.embedded.draw import Canvas, Capsule
from reid.embedded.people import Colour
from reid.embedded.textiles import rgb

Draw = ImageDraw.ImageDraw
Rng = np.random.Generator


def _tint(rng: Rng, colour: Colour, spread: int = 30, hue: int = 8) -> Colour:
    """A colour made lighter or darker by up to `spread`, and each of its channels by up to `hue` besides."""
    lightness = rng.integers(-spread, spread + 1)
    shifts = rng.integers(-hue, hue + 1, 3)
    red, green, blue = (min(max(int(c + lightness + s), 0), 255) for c, s in zip(colour, shifts, strict=True))
    return red, green, blue


def _foliage(draw: Draw, rng: Rng, width: int, top: float, bottom: float, count: int) -> None:
    for x, y, radius in zip(
        rng.uniform(0, width, count), rng.uniform(top, bottom, count), rng.uniform(4, 13, count), strict=True
    ):
        colour = _tint(rng, (58, 92, 48), 28, 14)
        draw.ellipse((x - radius, y - radius * 0.8, x + radius, y + radius * 0.8), fill=colour)


def _tiles(draw: Draw, rng: Rng, width: int, top: float, height: int, colour: Colour) -> None:
    """Paving in perspective."""
    vanishing = width * rng.uniform(0.2, 0.8)
    line = _tint(rng, (colour[0] - 30, colour[1] - 30, colour[2] - 30), 6)
    for step in range(-6, 7):
        draw.line((vanishing + step * 8, top, vanishing + step * 40, height), fill=line)
    rows = top + (height - top) * np.linspace(0.08, 1, 6) ** 1.5
    for y in rows.tolist():
        draw.line((0, y, width, y), fill=line)


def _car(draw: Draw, rng: Rng, width: int, base: float, size: float) -> None:
    x, colour = rng.uniform(-0.4, 0.9) * width, _tint(rng, (120, 120, 124), 50, 60)
    draw.rounded_rectangle((x, base - size * 0.34, x + size, base - size * 0.08), radius=size * 0.08, fill=colour)
    draw.rounded_rectangle(
        (x + size * 0.2, base - size * 0.55, x + size * 0.75, base - size * 0.28),
        radius=size * 0.08,
        fill=_tint(rng, (50, 58, 66)),
    )
    for wheel in (0.22, 0.78):
        centre, radius = x + size * wheel, size * 0.09
        draw.ellipse((centre - radius, base - 2 * radius, centre + radius, base), fill=(22, 22, 24))


def _plaza(draw: Draw, rng: Rng, width: int, height: int, horizon: float) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_tint(rng, (176, 186, 192)))
    _foliage(draw, rng, width, 0, horizon, 16)
    ground = _tint(rng, (168, 160, 148))
    draw.rectangle((0, horizon, width, height), fill=ground)
    _tiles(draw, rng, width, horizon, height, ground)


def _street(draw: Draw, rng: Rng, width: int, height: int, horizon: float) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_tint(rng, (138, 136, 140)))
    for x in np.arange(rng.uniform(-12, 0), width, rng.uniform(14, 26)).tolist():
        draw.rectangle((x, 2, x + 8, horizon * 0.6), fill=_tint(rng, (70, 82, 96)))
    draw.rectangle((0, horizon, width, height), fill=_tint(rng, (96, 96, 98)))
    for _ in range(int(rng.integers(1, 3))):
        _car(draw, rng, width, horizon + rng.uniform(0.05, 0.2) * height, height * rng.uniform(0.35, 0.55))
    y = horizon + (height - horizon) * rng.uniform(0.5, 0.8)
    draw.line((0, y, width, y + rng.uniform(-10, 10)), fill=(206, 204, 190), width=3)


def _bricks(draw: Draw, rng: Rng, width: int, height: int, horizon: float) -> None:
    wall = _tint(rng, (150, 92, 74))
    draw.rectangle((0, 0, width, horizon), fill=wall)
    mortar = _tint(rng, (176, 160, 148), 10)
    first = rng.uniform(0, 7)
    for row in range(int(horizon / 7) + 1):
        y = first + 7 * row
        draw.line((0, y, width, y), fill=mortar)
        for joint in range((row % 2) * 7, width, 14):
            draw.line((joint, y, joint, y + 7), fill=mortar)
    if rng.random() < 0.5:
        x = rng.uniform(-0.2, 0.8) * width
        draw.rectangle((x, horizon * 0.15, x + 26, horizon), fill=_tint(rng, (84, 88, 100), 40, 30))
    draw.rectangle((0, horizon, width, height), fill=_tint(rng, (140, 138, 134)))


def _lawn(draw: Draw, rng: Rng, width: int, height: int, horizon: float) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_tint(rng, (90, 112, 84)))
    _foliage(draw, rng, width, 0, horizon, 22)
    draw.rectangle((0, horizon, width, height), fill=_tint(rng, (104, 142, 74)))
    x = rng.uniform(-0.3, 1.0) * width
    draw.polygon(
        ((x, horizon), (x + 12, horizon), (x + 70, height), (x - 30, height)), fill=_tint(rng, (188, 178, 154))
    )


def _shop(draw: Draw, rng: Rng, width: int, height: int, horizon: float) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_tint(rng, (120, 100, 84)))
    for x in np.arange(rng.uniform(-25, 0), width, 30).tolist():
        draw.rectangle((x, 10, x + 24, horizon - 4), fill=_tint(rng, (196, 190, 160), 45, 20))
        for y in range(16, int(horizon) - 8, 12):
            draw.rectangle((x + 3, y, x + rng.uniform(8, 21), y + 7), fill=_tint(rng, (128, 110, 110), 50, 60))
    floor = _tint(rng, (184, 176, 168))
    draw.rectangle((0, horizon, width, height), fill=floor)
    _tiles(draw, rng, width, horizon, height, floor)


def _gate(draw: Draw, rng: Rng, width: int, height: int, horizon: float) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_tint(rng, (172, 176, 182)))
    draw.rectangle((0, horizon, width, height), fill=_tint(rng, (148, 148, 150)))
    colour = _tint(rng, (70, 74, 80), 30)
    for x in np.arange(rng.uniform(0, 9), width, 9).tolist():
        draw.line((x, horizon * 0.2, x, horizon * 1.12), fill=colour, width=2)
    draw.line((0, horizon * 0.3, width, horizon * 0.3), fill=colour, width=3)
    if rng.random() < 0.5:
        _car(draw, rng, width, horizon * 1.3, height * 0.45)


BACKGROUNDS: dict[str, Callable[[Draw, Rng, int, int, float], None]] = {
    "plaza": _plaza,
    "street": _street,
    "bricks": _bricks,
    "lawn": _lawn,
    "shop": _shop,
    "gate": _gate,
}


def draw_background(kind: str, height: int, width: int, rng: Rng) -> NDArray[np.uint8]:
    """An empty scene (height, width, 3) with uneven light, slightly out of focus."""
    image = Image.new("RGB", (width, height))
    BACKGROUNDS[kind](ImageDraw.Draw(image), rng, width, height, height * rng.uniform(0.42, 0.68))
    blurred = np.asarray(image.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 1.3))))
    patches = Image.fromarray(rng.uniform(0.78, 1.15, (6, 4)).astype(np.float32)).resize((width, height))
    lit: NDArray[np.uint8] = np.minimum(blurred * np.asarray(patches)[..., None], np.float32(255)).astype(np.uint8)
    return lit


def cast_shadow(background: NDArray[np.uint8], x: float, y: float, radius: float) -> NDArray[np.uint8]:
    """Darkens the ground around a person's feet."""
    shaded = background.copy()
    top, left = max(int(y - 0.4 * radius), 0), max(int(x - 1.2 * radius), 0)
    window = shaded[top : max(int(y + 0.4 * radius) + 1, 0), left : max(int(x + 1.2 * radius) + 1, 0)]
    rows, columns = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
    distance = ((columns - x) / radius) ** 2 + ((rows - y) / (0.3 * radius)) ** 2
    window[:] = window * (1 - 0.45 * np.clip(1.3 - distance, 0, 1))[..., None]
    return shaded


def draw_occluder(canvas: Canvas, rng: Rng, height: int, width: int, *, depth: float, owner: int) -> None:
    """A pole, a bin or a bush at the given depth (pixels), in front of an image of this size."""
    kind, x = rng.choice(["pole", "bin", "bush"], p=[0.35, 0.3, 0.35]), rng.uniform(0.1, 0.9) * width
    if kind == "pole":
        radius = rng.uniform(0.035, 0.075) * width
        paint = rgb(_tint(rng, (120, 122, 124), 60))
        tilt = rng.normal(0, 0.02) * width
        start, end = np.array([x, -5.0, depth]), np.array([x + tilt, height + 5.0, depth])
        canvas.draw(Capsule(start, end, (radius, radius), paint, owner=owner, flat=True))
    elif kind == "bin":
        radius, top = rng.uniform(0.16, 0.26) * width, rng.uniform(0.66, 0.8) * height
        paint = rgb(_tint(rng, (74, 96, 82), 50))
        start, end = np.array([x, top, depth]), np.array([x, height + 5.0, depth])
        canvas.draw(Capsule(start, end, (radius, radius * 0.9), paint, owner=owner, flat=True))
    else:
        for _ in range(9):
            centre = np.array([x + rng.normal(0, 0.16) * width, height * rng.uniform(0.74, 1.02), depth])
            radius = rng.uniform(0.06, 0.13) * width
            paint = rgb(_tint(rng, (56, 96, 46), 26, 14))
            canvas.draw(Capsule(centre, centre + 0.1, (radius, radius), paint, owner=owner))
